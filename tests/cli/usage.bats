#!/usr/bin/env bats
# The command line itself: help, options in any place, and what is no usage.

load helpers

VERBS="record collect watch list show status check plan backends emit verify capture kexec report map metrics"

@test "help lists every verb and every option" {
  ends 0 "$POISONCTL" --help
  local word
  for word in $VERBS --registry --sysroot --json --quiet --verbose --help --version; do
    says "$output" "$word"
  done
  same "$stderr" ""
  same "$("$POISONCTL" -h)" "$output"
}

@test "each verb has help that names its arguments and options, and touches nothing" {
  local verb
  for verb in $VERBS; do
    ends 0 "$POISONCTL" --sysroot /nonexistent --registry "$REGISTRY" "$verb" --help
    says "$output" "Usage: poisonctl [OPTION...] $verb" "--registry"
    same "$("$POISONCTL" --help "$verb" 2>&1)" "$output"
  done
  says "$("$POISONCTL" record --help)" --kind --source --note RANGE
  says "$("$POISONCTL" collect --help)" --full --threads
  says "$("$POISONCTL" emit --help)" --output --dtb --overlay BACKEND
  says "$("$POISONCTL" kexec --help)" --kernel --initrd --append --reuse-cmdline --load-only --force
  says "$("$POISONCTL" capture --help)" --without-page-flags DIR
  says "$("$POISONCTL" report --help)" --output --check
  [ ! -e "$REGISTRY" ]
}

@test "version is one line" {
  ends 0 "$POISONCTL" --version
  [[ "$output" =~ ^poisonctl\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
  same "$("$POISONCTL" -V)" "$output"
}

@test "options stand before or after the verb, with a space or an equals sign" {
  p -q record 0x3400000
  local expected
  expected=$("$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" --json list)
  says "$expected" records-v1
  same "$("$POISONCTL" list --json --registry "$REGISTRY" --sysroot "$MACHINE")" "$expected"
  same "$("$POISONCTL" --json list "--registry=$REGISTRY" "--sysroot=$MACHINE")" "$expected"
  same "$("$POISONCTL" "--registry=$REGISTRY" list --sysroot "$MACHINE" --json)" "$expected"
  ends 0 p record --note "before the range" 0x3500000
  ends 0 p record 0x3500000 --note=after
}

@test "what is no usage ends with 64, says why on stderr, and prints nothing" {
  p -q record 0x3400000
  cp "$REGISTRY" "$REGISTRY.before"
  local words
  while read -r words; do
    # shellcheck disable=SC2086 # words are wanted
    ends 64 p $words
    same "$output" ""
    [[ "$stderr" == "poisonctl: "* ]] || { echo "$words: $stderr" >&2; return 1; }
  done <<'END'

frobnicate
List
list extra
list --nope
list --al
--regis x list
record
record --kind
record 0x3500000 --kind xe
record 0x3500000 --source Kernel
record 0x3500000 --source a/b
record 0x3500000 --json
collect
collect kernel file
collect kernel --json
show
show 0x1000 0x2000
plan nope
emit
emit e820 offline
emit e820 --json
emit --output
capture
capture a --json
status extra
check extra
backends extra
--json
END
  cmp "$REGISTRY" "$REGISTRY.before"
}

@test "a word that is not ours cannot move the cursor" {
  ends 64 p $'\033[2Jlist'
  says "$stderr" 'there is no verb '
  [[ "$stderr" != *$'\033'* ]]
  ends 64 p record $'0x\033[2J'
  [[ "$stderr" != *$'\033'* ]]
  ends 64 p list $'--\033[2J'
  [[ "$stderr" != *$'\033'* ]]
}

@test "AFL++ begins with each verb and each option" {
  local verb option lines words
  words=$(grep -v '^#' "$HERE/../fuzz/afl_arguments.txt")
  for option in $(p --help | grep -o -- '--[a-z][a-z-]*' | sort -u); do says "$words" "$option"; done
  for verb in $(p --help | sed -n '/^Verbs/,/^$/s/^  \([a-z][a-z]*\).*/\1/p'); do
    lines=$(grep -E "(^|registry.db |machine )$verb( |$)" <<<"$words") || { echo "no line with $verb" >&2; return 1; }
    for option in $(p "$verb" --help | sed '/^Options of every verb/,$d' | grep -o '^ .*' | grep -o '^ *\(-[a-zA-Z] \[ \)\?--[a-z-]*' | grep -o -- '--.*'); do
      says "$lines" "$option"
    done
  done
}
