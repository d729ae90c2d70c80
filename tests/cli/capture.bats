#!/usr/bin/env bats
# poisonctl capture: what is seen of a captured machine is what was seen of the machine.

load helpers

@test "every verb says of the copy what it says of the machine" {
  fill
  ends 0 p capture "$BATS_TEST_TMPDIR/copy"
  says "$stderr" "look before you share it"
  local verb
  for verb in list status check plan backends "emit e820" "emit offline" verify; do
    # shellcheck disable=SC2086 # words are wanted
    run --separate-stderr p $verb
    local there=$output there_status=$status
    # shellcheck disable=SC2086
    run --separate-stderr "$POISONCTL" --sysroot "$BATS_TEST_TMPDIR/copy" --registry "$REGISTRY" $verb
    same "${there//$MACHINE/}" "${output//$BATS_TEST_TMPDIR\/copy/}" || { echo "$verb" >&2; return 1; }
    same "$there_status" "$status"
  done
}

@test "a copy of the copy is the same" {
  p -q capture "$BATS_TEST_TMPDIR/copy"
  "$POISONCTL" -q --sysroot "$BATS_TEST_TMPDIR/copy" capture "$BATS_TEST_TMPDIR/again"
  diff -r "$BATS_TEST_TMPDIR/copy" "$BATS_TEST_TMPDIR/again"
  cmp "$MACHINE/proc/kpageflags" "$BATS_TEST_TMPDIR/again/proc/kpageflags"
}

@test "what is not on the machine is left out, and -v says what" {
  rm -r "${MACHINE:?}/etc" "$MACHINE/sys/class"
  ends 0 p -v capture "$BATS_TEST_TMPDIR/copy"
  says "$stderr" "left out: " "etc/machine-id"
  [ ! -e "$BATS_TEST_TMPDIR/copy/etc" ]
}

@test "what only root may read on the machine is not open to all in the copy" {
  chmod 600 "$MACHINE/proc/kpageflags"
  (umask 0 && p -q capture "$BATS_TEST_TMPDIR/copy")
  same "$(stat -c %a "$BATS_TEST_TMPDIR/copy")" 700
  same "$(find "$BATS_TEST_TMPDIR/copy" -type f ! -perm 600)" ""
}

@test "capture without page flags" {
  ends 0 p capture --without-page-flags "$BATS_TEST_TMPDIR/copy"
  [ ! -e "$BATS_TEST_TMPDIR/copy/proc/kpageflags" ]
  [ -e "$BATS_TEST_TMPDIR/copy/proc/iomem" ]
}

@test "zeros in page flags take no room in the copy" {
  truncate -s 64M "$MACHINE/proc/kpageflags"
  p -q capture "$BATS_TEST_TMPDIR/copy"
  cmp "$MACHINE/proc/kpageflags" "$BATS_TEST_TMPDIR/copy/proc/kpageflags"
  [ "$(du -k "$BATS_TEST_TMPDIR/copy/proc/kpageflags" | cut -f1)" -lt 4096 ]
}

@test "capture writes only into a new or an empty folder" {
  mkdir "$BATS_TEST_TMPDIR/empty" "$BATS_TEST_TMPDIR/full"
  touch "$BATS_TEST_TMPDIR/full/file"
  ends 0 p capture "$BATS_TEST_TMPDIR/empty"
  ends 73 p capture "$BATS_TEST_TMPDIR/full"
  same "$(ls "$BATS_TEST_TMPDIR/full")" file
  ends 73 p capture "$BATS_TEST_TMPDIR/full/file"
  ends 64 p capture
  ends 64 p capture "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b"
}

@test "capture without privilege makes no folder" {
  printf '00000000-00000000 : System RAM\n' > "$MACHINE/proc/iomem"
  ends 71 p capture "$BATS_TEST_TMPDIR/copy"
  [ ! -e "$BATS_TEST_TMPDIR/copy" ]
}
