#!/usr/bin/env bats
# poisonctl map: the same everywhere but on a terminal that shows more.

load helpers

# map on a terminal, in a locale.
on_terminal() {
  LC_ALL=$1 script -qec "'$POISONCTL' --sysroot '$MACHINE' --registry '$REGISTRY' map ${*:2}" /dev/null |
    tr -d '\r'
}

@test "map draws each condition, in ASCII when it is no terminal, whatever the locale" {
  fill
  run p -q verify
  ends 0 env LC_ALL=C.UTF-8 "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" map
  says "$output" "64 KiB a character, 4 MiB a line" "0x2800000 #" "faulty, in use" "huge page"
  [[ "$output" != *[$'\x80'-$'\xff']* ]]
  while IFS= read -r line; do [ "${#line}" -le 80 ]; done <<< "$output"
}

@test "map uses Unicode and colour on a terminal only, and never with --ascii" {
  fill
  run p -q verify
  on_terminal C.UTF-8 > "$BATS_TEST_TMPDIR/unicode"
  grep -q $'\u2716' "$BATS_TEST_TMPDIR/unicode"
  grep -q $'\x1b\\[31m' "$BATS_TEST_TMPDIR/unicode"
  on_terminal C > "$BATS_TEST_TMPDIR/c"
  on_terminal C.UTF-8 --ascii > "$BATS_TEST_TMPDIR/ascii"
  for file in c ascii; do
    ! LC_ALL=C grep -q $'[\x80-\xff]' "$BATS_TEST_TMPDIR/$file"
    grep -q "X" "$BATS_TEST_TMPDIR/$file"
  done
}

@test "map says what lies nowhere, and needs a registry" {
  ends 66 p map
  fill
  ends 0 p map
  says "$output" "1 record where this machine has no memory"
}
