#!/usr/bin/env bats
# poisonctl backends: what each can do here, and why not.

load helpers

@test "backends --json has the promised form" {
  has_shape poisonctl/backends-v1 p --json backends
  [ "$status" -eq 0 ]
  same "$(json "[(b['name'], b['reach'], b['available']) for b in it['backends']]")" \
    "[('e820', 'excludes', True), ('devicetree', 'excludes', False), ('offline', 'excludes', True), ('initrd', 'carries', True), ('kho', 'carries', False), ('reserve-mem', 'carries', False)]"
}

@test "backends says why not" {
  rm -r "$MACHINE/sys/firmware"
  echo 0 > "$MACHINE/proc/sys/vm/memory_failure_recovery"
  ends 0 p backends
  says "$output" "e820         no" "sys/firmware/memmap is not there" "offline      no" "panic"
}

@test "backends needs no registry and makes none" {
  ends 0 p backends
  [ ! -e "$REGISTRY" ]
}
