#!/usr/bin/env bats
# The manual pages: sound, true of the files and backends that they describe, and their examples work.

load helpers

PAGES=$BATS_TEST_DIRNAME/../../packaging/man

# The examples of a page between .EX and .EE, as one types them.
examples() {
  sed -n '/^\.EX$/,/^\.EE$/{/^\.E/d; s/\\-/-/g; p}' "$PAGES/$1"
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
  while read -r _ words; do
    # shellcheck disable=SC2086 # words of an example
    p $words || [[ $? == 1 ]]
  done < <(examples poisonctl-backends.7)
}

# VERB: "WHAT OPTION" for each that differs between --help and the sections of the verb, of which a heading may name
# options that sections of their own explain.
differences() {
  p "$1" --help | sed '/^Options of every verb/,$d' | python3 -c 'import re, sys
option = re.compile(r"--[a-z][a-z-]*")
short = {"-o": "--output"}
page = re.sub(r"\\f.", "", open(sys.argv[2]).read().replace(r"\-", "-"))
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
      *(f"not there {o}" for o in sorted(headings - offered)))' "$1" "$PAGES/poisonctl.8"
}

@test "poisonctl(8) explains each option that --help of a verb has, and offers no other" {
  local verb verbs=0
  while read -r verb; do
    verbs=$((verbs + 1))
    same "$verb: $(differences "$verb" | xargs)" "$verb: "
  done < <(sed -n 's/^extern const Verb k\([A-Za-z]*\)Verb;$/\L\1/p' "$HERE/../../cli/verb.h")
  ((verbs > 20))
}
