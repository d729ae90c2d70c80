#!/usr/bin/env bats
# poisonctl verify: what page flags say, and that it is remembered for this boot only.

load helpers

@test "verify --json has the promised form" {
  fill
  has_shape poisonctl/verify-v1 p --json verify
  [ "$status" -eq 1 ]
  same "$(json "[(hex(r['address']), r['retirement']) for r in it['ranges'] if r['size'] == 4096][:2]")" \
    "[('0x1000000', 'pending'), ('0x2800000', 'effective')]"
}

@test "verify ends with 0 only when all are effective" {
  p -q record 0x2800000 0x3000000
  ends 0 p verify
  says "$output" effective
  p -q record 0x3400000
  ends 1 p verify
  says "$output" pending "free: can be allocated"
}

@test "verify records the outcome once" {
  p -q record 0x2800000
  ends 0 p --json list
  same "$(json "it['records'][0]['retirement']")" unknown
  ends 0 p verify
  ends 0 p --json list
  same "$(json "it['records'][0]['retirement']")" effective
  cp "$REGISTRY" "$REGISTRY.before"
  ends 0 p verify
  cmp "$REGISTRY" "$REGISTRY.before"
}

@test "verify of suspect records alone has nothing to say" {
  p -q record 0x3500000 --kind ce
  ends 0 p verify
  same "$output" ""
  says "$stderr" "no faulty records"
  has_shape poisonctl/verify-v1 p --json verify
  same "$(json "it['ranges']")" "[]"
}

@test "verify RANGE only reads, and needs no registry" {
  ends 1 p verify 0x3000000+12K
  says "$output" "0x3000000-0x3000fff" effective "0x3001000-0x3001fff" failed \
    "0x3002000-0x3002fff" pending
  [ ! -e "$REGISTRY" ]
  ends 0 p verify 0x3000000
}

@test "verify goes on when the registry cannot be written" {
  open_to_all
  p -q record 0x2800000
  chmod 444 "$REGISTRY"
  ends 0 as_user "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" verify
  says "$output" effective
  says "$stderr" "what was read could not be recorded" "read-only"
}
