#!/usr/bin/env bats
# How it speaks: colour on a terminal only, notes that -q leaves out, and no cut output that passes
# for a whole one.

load helpers

# Runs the words in a terminal and keeps what it shows.
in_terminal() { script -qec "$(printf '%q ' "$@")" /dev/null < /dev/null; }

@test "colour on a terminal, none with NO_COLOR, none elsewhere" {
  fill
  local words=("$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" list)
  [[ "$(env -u NO_COLOR TERM=xterm bash -c "$(declare -f in_terminal); in_terminal \"\$@\"" - "${words[@]}")" == *$'\033[31mfaulty\033[0m'* ]]
  [[ "$(in_terminal env NO_COLOR=1 "${words[@]}")" != *$'\033'* ]]
  says "$(in_terminal env NO_COLOR=1 "${words[@]}")" faulty
  [[ "$(in_terminal env NO_COLOR= "${words[@]}")" == *$'\033[31m'* ]]
  [[ "$(env -u NO_COLOR "${words[@]}")" != *$'\033'* ]]
}

@test "no colour in JSON, also on a terminal" {
  fill
  local shown
  shown=$(in_terminal env -u NO_COLOR "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" --json list)
  says "$shown" records-v1
  [[ "$shown" != *$'\033'* ]]
}

@test "-q leaves out notes and warnings, and never an error" {
  ends 0 p -q record 0x3400000 0x5000000
  same "$stderr" ""
  ends 1 p --quiet emit e820
  same "$stderr" ""
  ends 64 p -q record x
  says "$stderr" "poisonctl: range 'x'"
}

@test "what cannot be printed whole is an input or output error" {
  fill
  local words
  for words in list "--json list" status "emit e820" --help --version; do
    # shellcheck disable=SC2086,SC2016 # words are wanted; the inner shell expands
    ends 74 bash -c '"$@" > /dev/full' - "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" $words
    says "$stderr" "No space left on device" "not complete"
  done
}

@test "a reader that goes away is told by the status, not by a signal" {
  fill
  # shellcheck disable=SC2016
  run bash -c 'set -o pipefail; { sleep 0.3; exec "$@"; } 2> /dev/null | true; exit "${PIPESTATUS[0]}"' - \
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" list
  same "$status" 74
}

@test "environment variables change no byte of what is told or stored" {
  fill
  local nonsense=(TMPDIR=/nonexistent SQLITE_TMPDIR=/nonexistent LANG=xx_YY.UTF-99 LC_ALL=tr_TR
    LC_NUMERIC=de_DE HOME=/nonexistent TZ=Asia/Kathmandu COLUMNS=1 TERM=nonsense
    POISONCTL_REGISTRY=/nonexistent SYSROOT=/nonexistent)
  local verb expected
  for verb in list status check plan backends "emit e820" "emit offline" verify "show 0x2800000" \
      "--json list" "--json plan" --help "list --help"; do
    # shellcheck disable=SC2086 # words are wanted
    run p $verb
    expected=$output
    # shellcheck disable=SC2086
    run env "${nonsense[@]}" "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" $verb
    same "$expected" "$output" || { echo "$verb" >&2; return 1; }
    # shellcheck disable=SC2086
    run env -i "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" $verb
    same "$expected" "$output" || { echo "$verb without environment" >&2; return 1; }
  done
  ends 0 env "${nonsense[@]}" "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" record 0x3600000
  ends 0 p list
  says "$output" 0x3600000-0x3600fff
}
