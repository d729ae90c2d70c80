#!/usr/bin/env bats
# poisonctl topology, and what a change of the memory does to records.

load helpers

modules() { python3 "$HERE/dmi.py" "$MACHINE" "$@"; }

@test "topology show says what there is and how much it can tell" {
  ends 0 p topology show
  says "$output" "firmware names no memory modules" "RAM 0x0-0x3ffffff" "node 0: 0x0-0x3ffffff"
  says "$stderr" "no SMBIOS table"
  modules A1:S1:0:32 B1::32:64
  ends 0 p topology show
  says "$output" "2 memory modules, 1 with a serial number" \
    "slot A1 / BANK: 32 MiB Maker P-1 serial S1, at 0x0-0x1ffffff" "serial not told"
  has_shape poisonctl/topology-v1 p --json topology show
  same "$(json "[m['serial'] for m in it['modules']]")" "['S1', '']"
  ends 64 p topology
  ends 64 p topology see
}

@test "a record is quarantined when its module goes, and comes back with it" {
  modules A1:S1:0:32 B1:S2:32:64
  p -q record 0x1800000 0x2800000
  ends 0 p topology diff
  says "$output" "2 unaffected, 0 quarantined"
  before=$(p -q emit e820)
  # The module of B1 is in A1 now, and the other way round.
  modules A1:S2:0:32 B1:S1:32:64
  ends 1 p topology diff
  says "$output" "0 unaffected, 2 quarantined" "- slot A1 / BANK: 32 MiB Maker P-1 serial S1" \
    "+ slot A1 / BANK: 32 MiB Maker P-1 serial S2"
  has_shape poisonctl/topology-diff-v1 p --json topology diff
  same "$(json "(it['unaffected'], it['quarantined'], it['replaced'])")" "(0, 2, 0)"
  ends 0 p list
  says "$output" quarantined
  has_shape poisonctl/records-v1 p --json list
  says "$(json "it['records'][0]['reason']")" "(serial S1) is in slot B1"
  ends 0 p show 0x1800000
  says "$output" "condition   quarantined" "(serial S1) is in slot B1"
  ends 1 p check
  says "$output" "[quarantined]" "is in slot B1" "'poisonctl topology diff'"
  ends 1 p emit e820
  same "$output" ""
  ends 1 p plan e820
  says "$output" "REFUSED  0x1800000-0x1800fff" "REFUSED  0x2800000-0x2800fff"
  has_shape poisonctl/status-v1 p --json status
  same "$(json "(it['faulty'], it['quarantined'])")" "(0, 2)"
  modules A1:S1:0:32 B1:S2:32:64
  ends 0 p emit e820
  same "$output" "$before"
}

@test "a module that was exchanged: its records resolve when asked, the others stay" {
  modules A1:S1:0:32 B1:S2:32:64
  p -q record 0x1800000 0x2800000
  modules A1:S1:0:32 B1:S9:32:64
  ends 1 p topology diff
  says "$output" "1 unaffected, 1 quarantined (1 of them in a module that was exchanged)"
  ends 1 p emit e820
  says "$output" "%0x1800000"
  ends 1 p topology diff --resolve-replaced
  says "$stderr" "1 resolved as replaced"
  ends 0 p list --all
  says "$output" resolved
  ends 0 p emit e820
  # Back in the old slot it is not trusted again, as somebody said it was replaced.
  modules A1:S1:0:32 B1:S2:32:64
  ends 0 p emit e820
  same "$(tr -cd '%' <<< "$output" | wc -c)" 1
  ends 0 p audit verify
  ends 0 p rebuild --check
}

@test "a new error under the new memory counts again" {
  modules A1:S1:0:64
  p -q record 0x1800000
  modules A1:S2:0:64
  ends 1 p emit e820
  p -q record 0x1800000
  ends 0 p emit e820
  says "$output" "%0x1800000"
  modules A1:S1:0:64
  ends 0 p emit e820
  says "$output" "%0x1800000"
}

@test "without serial numbers a change of the map puts all in doubt" {
  p -q record 0x3800000
  printf '0x7ffffff\n' > "$MACHINE/sys/firmware/memmap/1/end"
  ends 1 p check
  says "$output" "[quarantined]" "the memory map is another"
  printf '0x3ffffff\n' > "$MACHINE/sys/firmware/memmap/1/end"
  ends 0 p check
}

@test "the registry's tables and hashes hold with topologies" {
  modules A1:S1:0:64
  p -q record 0x1800000
  modules A1:S2:0:64
  p -q record 0x1900000 0x1a00000
  same "$(sqlite3 "$REGISTRY" 'select count(*) from topology')" 2
  same "$(sqlite3 "$REGISTRY" 'select topology from import order by id' | tr '\n' ' ')" "1 2 "
  ends 0 p audit verify
  ends 0 python3 "$HERE/../chain_check.py" "$REGISTRY" "$REGISTRY.head"
  # The snapshot is under the hash of what points to it.
  sqlite3 "$REGISTRY" "update topology set text = replace(text, 'S1', 'S3')"
  ends 1 p audit verify
  says "$output" "1"
}

@test "a registry of the second schema is upgraded; its hashes stay what they were" {
  cp "$HERE/../crash/registry-schema-2.db" "$REGISTRY"
  local before
  before=$(sqlite3 "$REGISTRY" "select hex(hash) from event order by id")
  ends 65 p list
  says "$stderr" "older schema version 2"
  ends 0 p upgrade
  same "$(sqlite3 "$REGISTRY" "select hex(hash) from event order by id")" "$before"
  same "$(sqlite3 "$REGISTRY.schema-2" 'pragma user_version')" 2
  ends 0 p audit verify
  ends 0 p rebuild --check
  ends 0 python3 "$HERE/../chain_check.py" "$REGISTRY" "$REGISTRY.head"
  ends 0 p topology diff
  says "$output" "of before snapshots were kept"
  p -q record 0x1800000
  ends 0 p audit verify
}
