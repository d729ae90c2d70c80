#!/usr/bin/env bats
# apply bmc and collect ipmi where there is no BMC; with one, see tests/qemu/scenarios/ipmi.py.

load helpers

@test "what is retired waits in the queue for a BMC" {
  fill
  ends 0 p apply bmc --dry-run
  local pending=${#lines[@]}
  [ "$pending" -gt 0 ]
  says "$output" "would tell bmc: 0x2800000-0x2800fff"
  [ ! -e "$REGISTRY.bmc" ]
  ends 69 p apply bmc
  says "$stderr" "dev/ipmi0" "kept in $REGISTRY.bmc"
  same "$(stat -c %a "$REGISTRY.bmc")" 600
  same "$(grep -c ^pending "$REGISTRY.bmc")" "$pending"
  same "$(sed -n 2p "$REGISTRY.bmc" | cut -d' ' -f1,2)" "failures 1"
  # The next attempt has to wait, unless somebody says now.
  ends 1 p apply bmc
  says "$stderr" "the next attempt is made from" "--now"
  ends 69 p apply bmc --now
  same "$(sed -n 2p "$REGISTRY.bmc" | cut -d' ' -f1,2)" "failures 2"
  same "$(grep -c ^pending "$REGISTRY.bmc")" "$pending"
}

@test "frames that are only recorded, injected or resolved are not told of" {
  p -q record 0x3400000
  ends 0 p apply bmc --dry-run
  same "$output" "nothing to tell"
  fill
  p -q resolve 0x2800000 --as replaced --reason "new DIMM"
  ends 0 p apply bmc --dry-run
  [[ "$output" != *0x2800000* ]]
}

@test "a BMC that was told of all is left alone" {
  fill
  ends 69 p apply bmc
  sed -i 's/^pending/delivered/' "$REGISTRY.bmc"
  ends 0 p apply bmc
  same "$output" "bmc: nothing to tell"
}

@test "a queue that is damaged is not guessed at" {
  fill
  ends 69 p apply bmc
  echo rubbish >> "$REGISTRY.bmc"
  cp "$REGISTRY.bmc" "$BATS_TEST_TMPDIR/before"
  ends 65 p apply bmc --now
  says "$stderr" "$REGISTRY.bmc:" "'rubbish'"
  cmp "$REGISTRY.bmc" "$BATS_TEST_TMPDIR/before"
}

@test "one process talks to the BMC at a time" {
  fill
  ends 75 flock "$REGISTRY.bmc.lock" "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" apply bmc
  says "$stderr" "another process is talking to the BMC"
}

@test "options of other backends, and files, make no sense" {
  fill
  ends 64 p apply bmc --undo
  ends 64 p apply bmc --only grub
  ends 64 p collect ipmi /dev/null
  ends 69 p collect ipmi
  says "$stderr" "dev/ipmi0"
}

@test "the configuration may name it" {
  fill
  mkdir -p "$MACHINE/etc/poisonctl"
  printf '[watch]\nrefresh = bmc\n' > "$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 69 p apply
  says "$stderr" "kept in $REGISTRY.bmc"
}
