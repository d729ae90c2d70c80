#!/usr/bin/env bats
# poisonctl check: findings, their severity, and status 1 when there are any.

load helpers

@test "check without findings is quiet and done" {
  p -q record 0x3400000
  ends 0 p check
  same "$output" ""
  says "$stderr" "1 records, no findings"
  has_shape poisonctl/findings-v1 p --json check
  same "$(json "it['findings']")" "[]"
}

@test "check finds each kind of trouble" {
  local row range rule severity
  for row in "0x5000000 device-memory warning" "0x4000000 firmware-reserved note" \
      "0x4100000 outside-ram error" "0xfe000000 beyond-machine error" \
      "0x1000000 kernel-image warning" "0x3fff000+8K partly-outside warning"; do
    read -r range rule severity <<< "$row"
    rm -f "$REGISTRY"
    p -q record "$range"
    ends 1 p check
    says "$output" "$severity: 0x" "[$rule]"
    has_shape poisonctl/findings-v1 p --json check
    [ "$status" -eq 1 ]
    says "$(json "[(f['rule'], f['severity']) for f in it['findings']]")" "('$rule', '$severity')"
  done
}

@test "check says that a huge page is not exact" {
  p -q collect kernel
  ends 1 p check
  says "$output" "warning: 0x800000-0x9fffff" "[not-exact]"
}

@test "check says when the pages of this kernel are larger" {
  p -q record 0x3401000
  python3 -c 'import struct, sys; sys.stdout.buffer.write(struct.pack("<4Q", 6, 65536, 0, 0))' \
    > "$MACHINE/proc/self/auxv"
  ends 1 p check
  says "$output" "note: 0x3400000-0x340ffff" "[page-size]"
}

@test "two sources whose addresses are a power of two apart are told, and both kept" {
  p -q record 0x3400000 --source memtest
  p -q record 0x3410000 --source mcelog
  p -q record 0x3410000 0x3420000 --source rasdaemon # 0x3410000: agreed on by two
  ends 1 p check
  says "$output" "warning: 0x3400000-0x3400fff lies a power of two away" \
    "(the other is 0x3410000-0x3410fff) [sources-disagree]" \
    "(the other is 0x3420000-0x3420fff) [sources-disagree]"
  same "$(grep -c sources-disagree <<< "$output")" 2
  has_shape poisonctl/findings-v1 p --json check
  same "$(json "[hex(f['other']) for f in it['findings']]")" "['0x3410000', '0x3420000']"
  ends 0 p emit e820
  same "$(tr -cd '%' <<< "$output" | wc -c)" 3
  # The same source may well know both.
  rm "$REGISTRY"*
  p -q record 0x3400000 0x3410000 --source memtest
  ends 0 p check
}
