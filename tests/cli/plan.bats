#!/usr/bin/env bats
# poisonctl plan: covered and refused together are what was asked for, and nothing is written.

load helpers

@test "plan --json has the promised form, and no byte is lost" {
  fill
  cp "$REGISTRY" "$REGISTRY.before"
  has_shape poisonctl/plan-v1 p --json plan
  [ "$status" -eq 1 ]
  local total='sum(r["size"] for r in'
  same "$(json "[b['name'] for b in it['backends']]")" \
    "['e820', 'devicetree', 'offline', 'initrd', 'kho', 'reserve-mem']"
  # 2 MiB + 2 + 1 + 1 + 2 of 4 KiB: kernel, 0x3400000+8K, 0x1000000, 0x3fff000+8K, and two refused.
  same "$(json "{$total b['covered']) + $total b['refused']) for b in it['backends']}")" \
    "{$(((512 + 3 + 2 + 1 + 2 + 1 + 1) * 4096))}"
  cmp "$REGISTRY" "$REGISTRY.before"
}

@test "plan of one backend, and of one there is none of" {
  p -q record 0x3400000
  ends 0 p --json plan offline
  same "$(json "[b['name'] for b in it['backends']]")" "['offline']"
  same "$(json "it['backends'][0]['artifact']")" "0x3400000"
  ends 64 p plan nothing
  says "$stderr" "there is no backend 'nothing'"
}

@test "plan is done when only an unavailable backend refuses, and 69 when that one was asked for" {
  p -q record 0x3400000
  echo 0 > "$MACHINE/proc/sys/vm/memory_failure_recovery"
  ends 0 p plan
  says "$output" "offline: not available" "panic"
  ends 69 p plan offline
  has_shape poisonctl/plan-v1 p --json plan
  same "$(json "[(b['available'], len(b['covered']), len(b['refused'])) for b in it['backends']]")" \
    "[(True, 1, 0), (False, 0, 1), (False, 0, 1), (True, 1, 0), (False, 0, 1), (False, 0, 1)]"
}

@test "plan of an empty list has empty arrays" {
  p -q record 0x3500000 --kind ce
  ends 0 p plan
  has_shape poisonctl/plan-v1 p --json plan
  same "$(json "[(b['covered'], b['refused'], b['artifact']) for b in it['backends']]")" \
    "[([], [], ''), ([], [], None), ([], [], ''), ([], [], None), ([], [], None), ([], [], '')]"
}

@test "plan for people names twenty ranges and counts the rest" {
  # shellcheck disable=SC2046 # words are wanted
  p -q record $(for i in $(seq 30); do printf '0x%x ' $((0x3400000 + i * 8192)); done)
  ends 0 p plan e820
  says "$output" "covers 120 KiB in 30 ranges, refuses 0" "and 10 more (--json lists all)"
}
