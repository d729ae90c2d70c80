#!/usr/bin/env bats
# poisonctl status: one screen, with or without a registry, and what to do next.

load helpers

@test "status --json has the promised form, without a registry and with one" {
  has_shape poisonctl/status-v1 p --json status
  same "$(json "it['registry_exists'], it['generation'], it['faulty']")" "(False, 0, 0)"
  [ ! -e "$REGISTRY" ]
  fill
  has_shape poisonctl/status-v1 p --json status
  same "$(json "it['registry_exists'], it['faulty'], it['suspect'], it['effective'], it['failed']")" \
    "(True, 9, 1, 5, 1)"
  same "$(json "it['hardware_corrupted_bytes'], it['boot_id']")" \
    "(20480, '11111111-2222-3333-4444-555555555555')"
}

@test "status says what to do next" {
  ends 0 p status
  says "$output" "not made yet" "next       'poisonctl collect kernel'"
  sed -i 's/^HardwareCorrupted:.*/HardwareCorrupted: 0 kB/' "$MACHINE/proc/meminfo"
  ends 0 p status
  says "$output" "next       nothing"
  p -q record 0x2800000
  ends 0 p status
  says "$output" "next       'poisonctl verify'"
  p -q verify
  ends 0 p status
  says "$output" "next       nothing now; give the next kernel 'poisonctl emit e820'"
  p -q record 0x3400000
  run p -q verify
  ends 0 p status
  says "$output" "next       'poisonctl replay' retires them now"
}

@test "status goes by the bounds of the configuration, as all lists do" {
  p -q record 0x2800000 0x2900000
  ends 0 p --json status
  same "$(json "it['retire_list_bytes']")" 8192
  mkdir -p "$MACHINE/etc/poisonctl"
  printf '[list]\nbounds = frames=1\n' > "$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 0 p --json status
  same "$(json "it['retire_list_bytes']")" 4096
  printf '[list]\nbounds = frames=x\n' > "$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 65 p status
  says "$stderr" "poisonctl.conf: line 2: [list] bounds"
}

@test "status tells what this boot left out" {
  ends 0 p status
  says "$output" " 4 KiB left out of its map"  # the first page, which x86 kernels never use
  sed -i 's/^00100000-03ffffff : System RAM/00100000-033fffff : System RAM\n03400000-03400fff : Unusable memory\n03401000-03ffffff : System RAM/' \
    "$MACHINE/proc/iomem"
  ends 0 p status
  says "$output" " 8 KiB left out of its map"
}
