#!/usr/bin/env bats
# poisonctl show: one range with every event behind it.

load helpers

@test "show --json has the promised form" {
  fill
  has_shape poisonctl/events-v1 p --json show 0x2800000
  same "$(json "[(e['kind'], e['source']) for e in it['events']]")" \
    "[('ue', 'operator'), ('poisoned', 'kernel'), ('outcome', 'kernel')]"
  same "$(json "[e['state'] for e in it['events']]")" "['', '', 'effective']"
  same "$(json "it['events'][1]['evidence']")" "kpageflags[0x2800]=0x80000 page_size=4096"
}

@test "show tells people the same" {
  fill
  ends 0 p show 0x2800000
  says "$output" "0x2800000-0x2800fff" "condition   faulty" "retirement  effective" \
    "memtest86+, slot A1" "from operator" "from kernel"
}

@test "show of what nobody spoke of" {
  p -q record 0x3400000
  ends 0 p show 0x3600000
  says "$output" "0x3600000-0x3600fff: no record"
  has_shape poisonctl/events-v1 p --json show 0x3600000
  same "$(json "it['events']")" "[]"
}

@test "evidence cannot move the cursor of who reads it" {
  p -q record 0x3400000 --note $'\033[2J\nfake line'
  ends 0 p show 0x3400000
  says "$output" '\x1b[2J\x0afake line'
  [[ "$output" != *$'\033'* ]]
}
