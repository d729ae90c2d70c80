#!/usr/bin/env bats
# The manual pages: sound, true of the files and backends that they describe, and their examples work.

load helpers

PAGES=$BATS_TEST_DIRNAME/../../packaging/man

# PAGE: runs its examples on the machine of the test, one after the other, in a folder of its own. Status 1 is of findings,
# and no failure. Programs of others that would start another kernel or need a network say what they were asked to do,
# or what they would have been asked for.
run_examples() {
  local folder=$BATS_TEST_TMPDIR/$1
  mkdir -p "$folder"
  cd "$folder" || return 1
  export POISONCTL MACHINE REGISTRY SAMPLES=$HERE/../golden/sources
  # shellcheck disable=SC2016 # for the shell that it is given to
  ends 0 bash -euo pipefail -c '
    poisonctl() { "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" "$@" || [ $? -eq 1 ]; }
    kexec() { echo "kexec $*"; }
    systemctl() { echo "systemctl $*"; }
    journalctl() { cat "$SAMPLES/kernel_log/dmesg.txt"; }
    curl() { cat "$SAMPLES/redfish/log.json"; }
    '"$(examples "$1")"
}

# The examples of a page between .EX and .EE, as one types them on the test machine.
examples() {
  sed -n '/^\.EX$/,/^\.EE$/{/^\.E/d; s/\\-/-/g; s/\\e/\\/g; p}' "$PAGES/$1" |
    sed "s# /proc/cmdline# $MACHINE/proc/cmdline#"
}

@test "the formatter has nothing to say about any page" {
  local page
  for page in "$PAGES"/*; do
    ends 0 groff -t -man -ww -Tutf8 -z "$page"
    same "$output$stderr" ""
  done
}

@test "poisonctl.conf(5) has the keys of the file, and its examples are taken" {
  fill
  sed -n 's/^# *\([a-z_-]* =\).*/\1/p' "$HERE/../../packaging/poisonctl.conf" >"$BATS_TEST_TMPDIR/keys"
  [[ -s "$BATS_TEST_TMPDIR/keys" ]]
  local key
  while read -r key; do
    ends 0 grep -q "^.BI \"$key " "$PAGES/poisonctl.conf.5"
  done <"$BATS_TEST_TMPDIR/keys"
  mkdir -p "$MACHINE/etc/poisonctl"
  examples poisonctl.conf.5 >"$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 0 grep -c = "$MACHINE/etc/poisonctl/poisonctl.conf"
  same "$output" 9
  # 1: the list is not covered in all of its parts, which is no matter of the configuration.
  p -q plan e820 || [[ $? == 1 ]]
}

@test "poisonctl-handover(5) has the properties in their order, and its examples show them" {
  fill
  p -q handover make -o "$BATS_TEST_TMPDIR/list" || [[ $? == 1 ]]
  same "$(sed -n 's/\\//g; s/^\.BR \([a-z-]*\) " (.*/\1/p' "$PAGES/poisonctl-handover.5")" \
    "$(fdtget -p "$BATS_TEST_TMPDIR/list" /)"
  ends 0 bash -euc "$(examples poisonctl-handover.5 | sed "s#/tmp/list#$BATS_TEST_TMPDIR/list#")"
  says "$output" 'compatible = "poisonctl,handover"' "page-shift = <0x0c>"
}

@test "poisonctl-backends(7) has each backend, and its examples work" {
  fill
  local backend
  for backend in $(p --json backends | python3 -c \
    'import json, sys; print(*(b["name"] for b in json.load(sys.stdin)["backends"]))'); do
    ends 0 grep -q "^${backend//-/\\\\-}|" "$PAGES/poisonctl-backends.7"
  done
  run_examples poisonctl-backends.7
}

@test "the examples of poisonctl(8) load a kernel that keeps off the list, and take in what others know" {
  fill
  mkdir -p "$MACHINE/var/lib/rasdaemon"
  cp "$HERE/../golden/sources/rasdaemon/0.8.4.db" "$MACHINE/var/lib/rasdaemon/ras-mc_event.db"
  p -q record 0x12345000
  run_examples poisonctl.8
  # With --append, of plan --shell and of emit.
  same "$(grep -c '^kexec .*--command-line=ro quiet memmap=.*0x3400000' <<<"$output")" 2
  says "$output" "systemctl kexec"
  ends 0 p -q list --all
  grep -q ' 0x12345000-.* resolved ' <<<"$output"
  same "$(find "$BATS_TEST_TMPDIR" -name 'registry.db.snapshot-*' | wc -l)" 1
}

@test "the examples of poisonctl-check(8) and poisonctl-sources(7) work" {
  fill
  mkdir -p "$MACHINE/var/lib/rasdaemon"
  cp "$HERE/../golden/sources/rasdaemon/0.8.4.db" "$MACHINE/var/lib/rasdaemon/ras-mc_event.db"
  run_examples poisonctl-check.8
  says "$output" partly-outside '"schema": "poisonctl/findings-v1"'
  run_examples poisonctl-sources.7
  ends 0 p show 0x3a00000
  says "$output" "seen by the vendor"
}

@test "the examples of poisonctl-apply(8) write the option, and take it back" {
  fill
  mkdir -p "$MACHINE/etc/default/grub.d"
  echo 'GRUB_CMDLINE_LINUX="console=ttyS0"' >"$MACHINE/etc/default/grub"
  run_examples poisonctl-apply.8
  says "$output" "write grub: " "zz-poisonctl.cfg"
  same "$(ls -A "$MACHINE/etc/default/grub.d")" ""
}

@test "the examples of poisonctl-audit(8) check a bundle with poisonctl and without" {
  fill
  mkdir "$BATS_TEST_TMPDIR/poisonctl-audit.8"
  cd "$BATS_TEST_TMPDIR/poisonctl-audit.8"
  openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=Admin" -keyout CA.key -out CA.pem 2>/dev/null
  chmod 600 CA.key
  p -q audit export -o FILE --cert CA.pem --cert-key CA.key
  p audit key >KEY.pem
  run_examples poisonctl-audit.8
  says "$output$stderr" "Signature Verified Successfully" "CMS Verification successful" \
    "as they were signed with the key"
  grep -q 0x3400000 evidence.csv
}

@test "each page is installed, and poisonctl(8) names it" {
  local page name
  for page in "$PAGES"/*; do
    name=${page##*/}
    grep -q "man/${name}[ )]\|man/${name}$" "$PAGES/../CMakeLists.txt" || { echo "not installed: $name" >&2; return 1; }
    [[ $name == poisonctl.8 ]] || sed 's/\\//g' "$PAGES/poisonctl.8" | sed -n '/^.SH SEE ALSO/,$p' |
      grep -q "^.BR ${name%.*} (${name##*.})" || { echo "not in SEE ALSO: $name" >&2; return 1; }
  done
}

# VERB: "WHAT OPTION" for each that differs between --help and the sections of the verb, of which a heading may name
# options that sections of their own explain.
differences() {
  local page pages=("$PAGES/poisonctl.8")
  page=$PAGES/poisonctl-$1.8
  [[ ! -e $page ]] || pages+=("$page")
  p "$1" --help | sed '/^Options of every verb/,$d' | python3 -c 'import re, sys
option = re.compile(r"--[a-z][a-z-]*")
short = {"-o": "--output"}
page = re.sub(r"\\f.", "", "".join(open(f).read() for f in sys.argv[2:]).replace(r"\-", "-"))
sections = re.split(r"^\.S[SH] ", page, flags=re.M)[1:]
shared = {words: set(option.findall(section)) for words, start in
          (("LIST OPTIONS", "List options"), ("COMMAND LINE OPTIONS", "Command line options"))
          for section in sections if section.startswith(start)}
assert len(shared) == 2
page_options = lambda text: set(option.findall(text)) | {short[o] for o in re.findall(r"(?<!-)-o\b", text)}
own = [s for s in sections if re.match(re.escape(sys.argv[1]) + r"( |\n)", s)]
offered = set(option.findall("".join(l for l in sys.stdin if re.match(r" +(-|[^ ])", l))))
headings = {o for s in own for o in page_options(s.split("\n")[0])}
explained = {o for s in own for o in page_options(s)}
for words, options in shared.items():
    if any(words in s.split("\n")[0] for s in own):
        headings |= options
        explained |= options
print("no section" if not own else "", *(f"unexplained {o}" for o in sorted(offered - explained)),
      *(f"not there {o}" for o in sorted(headings - offered)))' "$1" "${pages[@]}"
}

@test "poisonctl(8), or the page of the verb, explains each option that --help of a verb has, and offers no other" {
  local verb verbs=0
  while read -r verb; do
    verbs=$((verbs + 1))
    same "$verb: $(differences "$verb" | xargs)" "$verb: "
  done < <(sed -n 's/^extern const Verb k\([A-Za-z]*\)Verb;$/\L\1/p' "$HERE/../../cli/verb.h")
  ((verbs > 20))
}
