#!/usr/bin/env bats
# poisonctl watch: its usage, and what it says where it cannot work. What it records is in tests/qemu.

load helpers

@test "watch takes no argument, no --json and no captured machine" {
  ends 64 "$POISONCTL" --registry "$REGISTRY" watch now
  ends 64 "$POISONCTL" --registry "$REGISTRY" --json watch
  ends 64 p watch
  says "$stderr" "--sysroot"
  [ ! -e "$REGISTRY" ]
}

@test "watch tells at its start that the registry cannot be made" {
  ends 66 timeout 20 "$POISONCTL" --registry "$BATS_TEST_TMPDIR/no/registry.db" watch
  says "$stderr" "folder does not exist"
}

# Whatever the kernel of the test machine has, nobody may look at it.
@test "watch without privilege says what it tried, and ends" {
  local as_nobody=()
  chmod 0755 "$BATS_TEST_TMPDIR"
  mkdir -m 0777 "$BATS_TEST_TMPDIR/open"
  if [ "$(id -u)" -eq 0 ]; then
    as_nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
    cp "$POISONCTL" "$BATS_TEST_TMPDIR/open/poisonctl"
  else
    ln -s "$POISONCTL" "$BATS_TEST_TMPDIR/open/poisonctl"
  fi
  run --separate-stderr timeout 60 "${as_nobody[@]}" "$BATS_TEST_TMPDIR/open/poisonctl" \
    --registry "$BATS_TEST_TMPDIR/open/registry.db" watch
  # shellcheck disable=SC2154 # run sets it
  [ "$status" -eq 69 ] || [ "$status" -eq 71 ]
  # shellcheck disable=SC2154
  says "$stderr" "tracefs" "looking at HardwareCorrupted"
}
