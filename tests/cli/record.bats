#!/usr/bin/env bats
# poisonctl record: what an operator says is stored, once for each RANGE and as it was said.

load helpers

@test "record makes the registry, says so on stderr, and prints nothing" {
  ends 0 p record 0x3400000
  same "$output" ""
  says "$stderr" "1 recorded in $REGISTRY, 1 new"
  same "$(stat -c %a "$REGISTRY")" 640
}

@test "every way to write a range names the same frames" {
  local expected=0x3400000-0x3400fff range
  for range in 0x3400000 0x3400000+4096 0x3400000+4K 0x3400000+0x1000 0x3400000-0x3400fff \
      pfn:0x3400 pfn:0x3400+1 0X3400000; do
    rm -f "$REGISTRY"
    ends 0 p -q record "$range"
    ends 0 p list
    says "$output" "$expected"
  done
}

@test "kind, source and note are kept" {
  ends 0 p record 0x3500000 --kind ce --source edac --note "row 5 <&> é"
  ends 0 p --json show 0x3500000
  same "$(json "it['events'][0]['kind'], it['events'][0]['source'], it['events'][0]['evidence']")" \
    "('ce', 'edac', 'row 5 <&> é')"
  ends 0 p --json list
  same "$(json "it['records'][0]['condition']")" suspect
}

@test "said again it is one record with two events" {
  p -q record 0x3400000
  ends 0 p record 0x3400000
  says "$stderr" "1 recorded" "0 new"
  ends 0 p --json list
  same "$(json "len(it['records']), it['records'][0]['events']")" "(1, 2)"
}

@test "an event is stamped with who, where and when" {
  local before after
  before=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  p -q record 0x3400000
  after=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  ends 0 p --json show 0x3400000
  same "$(json "it['events'][0]['boot_id']")" 11111111-2222-3333-4444-555555555555
  same "$(json "it['events'][0]['kernel_release']")" 7.2.13-test
  same "$(json "it['events'][0]['host_id']")" 0123456789abcdef0123456789abcdef
  same "$(json "it['events'][0]['product_uuid']")" 99999999-8888-7777-6666-555555555555
  same "$(json "it['events'][0]['uid']")" "$(id -u)"
  same "$(json "it['events'][0]['page_size']")" 4096
  local seconds
  seconds=$(json "it['events'][0]['time'][:19] + 'Z'")
  [[ ! "$seconds" < "$before" ]]
  [[ ! "$seconds" > "$after" ]]
}

@test "a note of 16 KiB is kept whole, one byte more is refused" {
  local longest
  longest=$(printf 'x%.0s' $(seq 16384))
  ends 0 p record 0x3400000 --note "$longest"
  ends 0 p --json show 0x3400000
  same "$(json "len(it['events'][0]['evidence'])")" 16384
  ends 64 p record 0x3400000 --note "x$longest"
  says "$stderr" "16385 bytes"
}

@test "one bad range among good ones stores none" {
  p -q record 0x3400000
  cp "$REGISTRY" "$REGISTRY.before"
  ends 64 p record 0x3401000 0x3402000 3403000
  cmp "$REGISTRY" "$REGISTRY.before"
}
