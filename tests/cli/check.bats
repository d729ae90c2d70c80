#!/usr/bin/env bats
# poisonctl check: findings, their severity, and status 1 when there are any.

load helpers

@test "check without findings is quiet and done" {
  p -q record 0x3400000
  ends 0 p check
  same "$output" ""
  says "$stderr" "1 record, no findings"
  has_shape poisonctl/findings-v1 p --json check
  same "$(json "it['findings']")" "[]"
}

@test "check finds each kind of trouble" {
  local row range rule severity
  for row in "0x5000000 device-memory warning" "0x4000000 firmware-reserved note" \
      "0x4100000 hole error" "0xfd000000 outside-ram error" \
      "0xfe000000 beyond-machine error" "0x9e000 first-mib note" \
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

@test "check says what else lies in RAM, and what to do" {
  local at=$MACHINE/sys row rule text
  mkdir -p "$at/kernel/boot_params" "$at/kernel/debug/kho/out" "$at/kernel/mm/hugepages/hugepages-2048kB" \
    "$at/firmware/efi/runtime-map/0"
  python3 -c 'import struct, sys
page = bytearray(4096)
struct.pack_into("<2I", page, 0x218, 0x3000000, 0x1800)
sys.stdout.buffer.write(page)' > "$at/kernel/boot_params/data"
  echo 0x3200000 > "$at/kernel/debug/kho/out/scratch_phys"
  echo 0x100000 > "$at/kernel/debug/kho/out/scratch_len"
  echo 0x3400000 > "$at/firmware/efi/runtime-map/0/phys_addr"
  echo 0x1 > "$at/firmware/efi/runtime-map/0/num_pages"
  echo 4 > "$at/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
  sed -i 's/^  02000000/  01e00000-01efffff : Crash kernel\n  02000000/' "$MACHINE/proc/iomem"
  echo offline > "$at/devices/system/memory/memory2/state"
  p -q record 0x3001000 0x3210000 0x3400000 0x1e00000 0x2800000
  ends 1 p check
  for row in "initrd:0x3001000:lands elsewhere" "kho-scratch:0x3210000:boot cold" \
      "efi-runtime:0x3400000:have the memory replaced" "crash-kernel:0x1e00000:move the area" \
      "offline-block:0x2800000:when the block comes online" \
      "huge-pages:0x1e00000:4 pages of 2 MiB, and with them 8.0 MiB of healthy memory"; do
    IFS=: read -r rule range text <<< "$row"
    says "$(grep -F "[$rule]" <<< "$output")" "$range" "$text"
  done
  # A copy of the machine has the same findings.
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/copy.db"
  local before=$output
  p -q capture "$BATS_TEST_TMPDIR/captured"
  ends 1 "$POISONCTL" --sysroot "$BATS_TEST_TMPDIR/captured" --registry "$BATS_TEST_TMPDIR/copy.db" check
  same "$before" "$output"
}

@test "a list past its bounds: the worst first, the rest refused by name" {
  p -q record 0x3400000 0x3402000 --kind ce
  printf 'address,kind\n0x3404000,deferred\n0x3406000,ue\n0x3408000,injected\n' > "$BATS_TEST_TMPDIR/list.csv"
  p -q collect csv "$BATS_TEST_TMPDIR/list.csv"
  ends 1 p plan --bounds frames=1 e820
  says "$output" "covered  0x3406000-0x3406fff" "REFUSED  0x3404000-0x3404fff" "(at most 1 frame)" \
    "REFUSED  0x3408000-0x3408fff: was put there by a test"
  ends 1 p --json plan --bounds frames=2 --include-injected e820
  same "$(json "sum(r['size'] for r in it['backends'][0]['covered'] + it['backends'][0]['refused'])")" \
    $((3 * 4096))
  ends 1 p check --bounds per-mille=0,hard-per-mille=0,frames=0
  says "$output" "[past-bound]" "[injected]"
  ends 64 p plan --bounds frames=x
  says "$stderr" "bounds: 'frames=x'"
}

@test "a list that says half of memory is refused whole" {
  p -q record 0x2400000-0x33fffff
  ends 1 p check
  says "$output" "error: 0x2400000-0x33fffff" "[hard-limit]" "an attack or a mistake"
  ends 1 p emit e820
  same "$output" ""
}
