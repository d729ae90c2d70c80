#!/usr/bin/env bats
# poisonctl emit: the artifact and nothing else, on standard output or in a file that is whole.

load helpers

@test "emit e820 prints one line and nothing else" {
  p -q record 0x3400000 0x2800000+8K
  ends 0 p emit e820
  same "$output" "memmap=0x2000%0x2800000-1+5,0x1000%0x3400000-1+5"
  same "$stderr" ""
  same "$(p emit e820 | wc -l)" 1
}

@test "emit warns of what is not covered, and ends with 1" {
  p -q record 0x3400000 0x5000000
  ends 1 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
  says "$stderr" "0x5000000-0x5000fff is not covered" "device memory"
  ends 1 p -q emit e820
  same "$stderr" ""
}

@test "emit of nothing to keep out is empty, so that --append takes it" {
  p -q record 0x3500000 --kind ce
  ends 0 p emit e820
  same "$output" ""
  same "$(p emit e820 | wc -c)" 0
}

@test "emit offline prints one address a line" {
  p -q record 0x3400000+8K
  ends 0 p emit offline
  same "$output" "$(printf '0x3400000\n0x3401000')"
}

@test "emit -o makes the file with mode 0644 and prints nothing" {
  p -q record 0x3400000
  (umask 077; p emit e820 -o "$BATS_TEST_TMPDIR/out")
  same "$(cat "$BATS_TEST_TMPDIR/out")" "memmap=0x1000%0x3400000-1+5"
  same "$(stat -c %a "$BATS_TEST_TMPDIR/out")" 644
  ends 0 p emit e820 --output "$BATS_TEST_TMPDIR/out"
  same "$output" ""
}

@test "emit -o replaces the file and leaves no other; an open reader keeps the old one" {
  p -q record 0x3400000
  mkdir "$BATS_TEST_TMPDIR/etc"
  echo old > "$BATS_TEST_TMPDIR/etc/out"
  exec 5< "$BATS_TEST_TMPDIR/etc/out"
  ends 0 p emit e820 -o "$BATS_TEST_TMPDIR/etc/out"
  same "$(cat <&5)" old
  exec 5<&-
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
}

@test "emit -o that fails leaves the file as it was and nothing beside it" {
  p -q record 0x3400000
  mkdir "$BATS_TEST_TMPDIR/etc"
  echo old > "$BATS_TEST_TMPDIR/etc/out"
  # SC2016: the inner shell expands.
  # shellcheck disable=SC2016
  ends 73 bash -c 'trap "" XFSZ; ulimit -f 0; exec "$@"' - "$POISONCTL" --sysroot "$MACHINE" \
    --registry "$REGISTRY" emit e820 -o "$BATS_TEST_TMPDIR/etc/out"
  same "$(cat "$BATS_TEST_TMPDIR/etc/out")" old
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/none/out"
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/etc"
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/etc/"
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
}

@test "emit needs a backend that is here" {
  p -q record 0x3400000
  ends 64 p emit
  ends 64 p emit kho
  rm -r "$MACHINE/sys/firmware"
  ends 69 p emit e820
  same "$output" ""
  says "$stderr" "sys/firmware/memmap is not there"
}

@test "what this boot leaves out already is emitted for the next" {
  p -q record 0x3400000 0x3800000
  local first
  first=$(p emit e820)
  echo "ro $first quiet" > "$MACHINE/proc/cmdline"
  sed -i 's/^00100000-03ffffff : System RAM/00100000-033fffff : System RAM\n03400000-03400fff : Unusable memory\n03401000-037fffff : System RAM\n03800000-03800fff : Unusable memory\n03801000-03ffffff : System RAM/' \
    "$MACHINE/proc/iomem"
  ends 0 p emit e820
  same "$output" "$first"
}
