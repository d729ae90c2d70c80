#!/usr/bin/env bats
# poisonctl watch: its usage, and what it says where it cannot work. What it records is in tests/qemu.

load helpers

@test "watch takes no argument, no --json and no captured machine" {
  ends 64 "$POISONCTL" --registry "$REGISTRY" watch now
  ends 64 "$POISONCTL" --registry "$REGISTRY" --json watch
  ends 64 p watch
  # shellcheck disable=SC2154 # ends sets it
  says "$stderr" "--sysroot"
  [ ! -e "$REGISTRY" ]
}

@test "watch tells at its start that the registry cannot be made" {
  ends 66 timeout 20 "$POISONCTL" --registry "$BATS_TEST_TMPDIR/no/registry.db" watch
  says "$stderr" "folder does not exist"
}

# It ignores what it does not know, and says so: nothing is what it may say.
@test "systemd understands the unit file" {
  local unit=$BATS_TEST_TMPDIR/poisonctl-watch.service
  sed "s#^ExecStart=[^ ]*#ExecStart=$POISONCTL#" \
    "$HERE/../../packaging/systemd/poisonctl-watch.service.in" >"$unit"
  ends 0 systemd-analyze verify --man=no "$unit"
  # shellcheck disable=SC2154 # ends sets it
  if [[ "$output$stderr" == *poisonctl-watch* ]]; then
    echo "$output$stderr" >&2
    return 1
  fi
}

# Whatever the kernel of the test machine has, nobody may look at it.
@test "watch without privilege says what it tried, and ends" {
  open_to_all
  mkdir -m 0777 "$BATS_TEST_TMPDIR/open"
  # Where tracefs is mounted and this user may make no instance in it, libtracefs 1.6 leaks the name of it.
  ASAN_OPTIONS=detect_leaks=0 run --separate-stderr as_user timeout 60 "$BATS_TEST_TMPDIR/poisonctl" \
    --registry "$BATS_TEST_TMPDIR/open/registry.db" watch
  # shellcheck disable=SC2154 # run sets it
  [ "$status" -eq 69 ] || [ "$status" -eq 71 ]
  says "$stderr" "tracefs" "looking at HardwareCorrupted"
}
