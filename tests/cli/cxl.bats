#!/usr/bin/env bats
# CXL devices: what is planned for them, and what needs the running machine. The rest is in
# tests/qemu/scenarios/cxl_lists.py.

load helpers

BUS=sys/bus/cxl/devices
REPAIR=sys/bus/edac/devices/cxl_mem0/mem_repair0

# PATH TEXT: an attribute.
attribute() {
  mkdir -p "$(dirname "$MACHINE/$1")"
  printf '%s\n' "$2" > "$MACHINE/$1"
}

# One device of 512 MiB, 256 MiB of it in a region at 0x300000000, and soft PPR.
make_cxl() {
  attribute $BUS/mem0/serial 0xabcd0001
  attribute $BUS/mem0/ram/size 0x20000000
  attribute $BUS/endpoint2/uport/serial 0xabcd0001
  local decoder
  for decoder in decoder0.0 decoder2.0; do
    attribute $BUS/$decoder/start 0x300000000
    attribute $BUS/$decoder/size 0x10000000
    attribute $BUS/$decoder/interleave_ways 1
    attribute $BUS/$decoder/interleave_granularity 256
  done
  attribute $BUS/decoder2.0/dpa_resource 0x0
  attribute $BUS/decoder2.0/dpa_size 0x10000000
  attribute $BUS/region0/resource 0x300000000
  attribute $BUS/region0/size 0x10000000
  attribute $BUS/region0/commit 1
  attribute $BUS/region0/interleave_ways 1
  attribute $BUS/region0/interleave_granularity 256
  attribute $BUS/region0/target0 decoder2.0
  attribute $REPAIR/repair_type ppr
  attribute $REPAIR/persist_mode 0
  attribute $REPAIR/repair_safe_when_in_use 1
  attribute $REPAIR/dpa 0x0
  attribute $REPAIR/repair ''
}

# A listing with these entries: OFFSET LENGTH... of the device.
listing() {
  local entries=
  while [ $# -gt 0 ]; do
    entries+="${entries:+,}{\"offset\":$(($1)),\"length\":$2,\"source\":\"Internal\"}"
    shift 2
  done
  printf '[{"memdev":"mem0","serial":%d,"media_errors":[%s]}]' $((0xabcd0001)) "$entries"
}

@test "without CXL it says what is missing" {
  ends 69 p collect cxl
  says "$stderr" "$MACHINE/$BUS does not exist: this kernel has no CXL bus"
  ends 69 p apply cxl --dry-run
  says "$stderr" "no CXL bus"
}

@test "devices of a captured machine cannot be asked" {
  make_cxl
  ends 69 p collect cxl
  says "$stderr" "is no running machine" "cxl list --media-errors"
  [ ! -e "$REGISTRY" ]
}

@test "the plan names each line, its repair, and what is refused" {
  make_cxl
  listing 0x10001000 64 0x10002000 128 | p -q collect cxl -
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  ends 1 p apply cxl --dry-run
  same "$output" "repair cxl serial 0xabcd0001 dpa 0x1000+0x40, in 0x300001000-0x300001fff: temporary ppr
repair cxl serial 0xabcd0001 dpa 0x10001000+0x40: temporary ppr
refused cxl serial 0xabcd0001 dpa 0x10002000+0x80: it has 2 lines of 64 bytes: each would take a spare of its own"
  says "$stderr" "2 spares of the devices are taken; how many are left no device tells the kernel"
  same "$(cat "$MACHINE/$REPAIR/repair")" ""
  ends 1 p apply cxl --dry-run --permanent
  says "$output" "permanent ppr"
  ends 1 p apply cxl --dry-run --repair row-sparing
  says "$output" "refused cxl serial 0xabcd0001 dpa 0x1000+0x40, in 0x300001000-0x300001fff: ppr: another kind"
}

@test "a line that was repaired before its record opened again takes no second spare" {
  make_cxl
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  p -q resolve 0x300001000 --as repaired --reason "apply cxl"
  printf 'address,size\n0x300001080,64\n' | p -q collect csv -
  ends 0 p apply cxl --dry-run
  same "$output" "repair cxl serial 0xabcd0001 dpa 0x1080+0x40, in 0x300001000-0x300001fff: temporary ppr"
}

@test "a record all of whose lines were repaired is named, and nothing is ordered for it" {
  make_cxl
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  # As when the line was repaired at a time when no region had its memory.
  python3 -c '
import sqlite3, sys
registry = sqlite3.connect(sys.argv[1])
for table, change in (("import", {"id": 2, "source": "cxl-repair"}),
                      ("event", {"id": 2, "import": 2, "address": None, "size": None, "result": "repaired",
                                 "label": "cxl serial 0xabcd0001 dpa 0x1000+0x40"})):
    row = registry.execute(f"SELECT * FROM {table}")
    values = dict(zip((column[0] for column in row.description), row.fetchone())) | change
    registry.execute(f"INSERT INTO {table} ({chr(44).join(values)}) VALUES ({chr(44).join(chr(63) * len(values))})",
                     tuple(values.values()))
registry.commit()' "$REGISTRY"
  ends 1 p apply cxl --dry-run
  same "$output" "repaired before 0x300001000-0x300001fff: each line of it that is known; 'poisonctl resolve 0x300001000-0x300001fff --as repaired' ends its record"
  ends 0 p resolve 0x300001000-0x300001fff --as repaired --reason "apply cxl"
  ends 0 p apply cxl --dry-run
  same "$output" "nothing to repair"
}

@test "what a test injected is left alone unless it is asked for" {
  make_cxl
  listing 0x10001000 64 | sed s/Internal/Injected/ | p -q collect cxl -
  ends 0 p apply cxl --dry-run
  same "$output" "nothing to repair"
  ends 0 p apply cxl --dry-run --include-injected
  says "$output" "repair cxl serial 0xabcd0001 dpa 0x10001000+0x40"
}

@test "nothing is repaired on a captured machine" {
  make_cxl
  listing 0x10001000 64 | p -q collect cxl -
  before=$(sha256sum < "$REGISTRY")
  ends 69 p apply cxl
  says "$stderr" "is no running machine"
  same "$(cat "$MACHINE/$REPAIR/repair")" ""
  same "$(sha256sum < "$REGISTRY")" "$before"
}

@test "memory that a region has is not repaired unsafely without asking" {
  make_cxl
  attribute $REPAIR/repair_safe_when_in_use 0
  listing 0x10001000 64 | p -q collect cxl -
  ends 1 p apply cxl --dry-run
  says "$output" "refused" "it may lose data of memory that a region has"
  ends 0 p apply cxl --dry-run --unsafe-in-use
  says "$output" "repair cxl serial"
  attribute $REPAIR/repair_safe_when_in_use 1
  ends 0 p apply cxl --dry-run
}

@test "without a region nothing is in use" {
  make_cxl
  attribute $REPAIR/repair_safe_when_in_use 0
  listing 0x10001000 64 | p -q collect cxl -
  rm -r "$MACHINE/$BUS/region0"
  ends 0 p apply cxl --dry-run
  same "$output" "repair cxl serial 0xabcd0001 dpa 0x10001000+0x40: temporary ppr"
}

@test "clearing without a repair is asked for by name, and called what it is" {
  make_cxl
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  listing 0x10002000 128 | p -q collect cxl -
  ends 64 p apply cxl --dry-run --repair none
  says "$stderr" "--repair none: is for --clear-poison without a repair"
  ends 0 p apply cxl --dry-run --repair none --clear-poison
  same "$output" "clear cxl serial 0xabcd0001 dpa 0x1000+0x40, in 0x300001000-0x300001fff: overwritten with zeros, no repair
clear cxl serial 0xabcd0001 dpa 0x10002000+0x80: overwritten with zeros, no repair"
  same "$stderr" ""
}

@test "a record of whole pages names no line" {
  make_cxl
  p -q record 0x300004000
  ends 1 p apply cxl --dry-run
  same "$output" "refused 0x300004000-0x300004fff: no event says which 64 bytes of it are bad; 'collect cxl' asks the devices"
}

@test "a decoder that lies is told, and its bytes are nowhere" {
  make_cxl
  attribute $BUS/decoder2.0/interleave_ways 2
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  ends 0 p apply cxl --dry-run
  same "$output" "nothing to repair"
  says "$stderr" "decoder2.0 has 2 ways by 256 bytes, the region 1 by 256" "nobody can tell"
}

@test "what is beyond the device, or in another, is said" {
  make_cxl
  attribute $REPAIR/max_dpa 0x1fffffff
  listing 0x20000000 64 | p -q collect cxl -
  listing 0x1000 64 | sed "s/$((0xabcd0001))/77/" | p -q collect cxl -
  ends 1 p apply cxl --dry-run
  same "$output" "refused cxl serial 0xabcd0001 dpa 0x20000000+0x40: ppr: it reaches from 0x0 to 0x1fffffff only"
  says "$stderr" "1 entry about CXL devices that are not here"
}

@test "a captured machine is planned for as the machine itself" {
  make_cxl
  printf 'address,size\n0x300001000,64\n' | p -q collect csv -
  listing 0x10001000 64 | p -q collect cxl -
  ends 0 p apply cxl --dry-run
  local planned=$output
  ends 0 p capture "$BATS_TEST_TMPDIR/copy"
  ends 0 "$POISONCTL" --sysroot "$BATS_TEST_TMPDIR/copy" --registry "$REGISTRY" apply cxl --dry-run
  same "$output" "$planned"
}

@test "options of one kind of apply are refused by the other" {
  make_cxl
  ends 64 p apply cxl --undo
  says "$stderr" "a repair cannot be undone"
  ends 64 p apply cxl --repair all
  says "$stderr" "expected cacheline-sparing, ppr, row-sparing, bank-sparing, rank-sparing or none"
  ends 64 p apply e820 --permanent
  says "$stderr" "are for 'apply cxl'"
  ends 64 p apply --clear-poison
}

@test "status names the devices; a captured one tells no health" {
  make_cxl
  has_shape poisonctl/status-v1 p --json status
  same "$(json "it['cxl_devices']")" "[{'memdev': 'mem0', 'serial': 2882338817, 'complaints': None}]"
  ends 0 p status
  says "$output" "cxl        1 device, 1 without health information"
}
