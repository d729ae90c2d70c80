#!/usr/bin/env bats
# poisonctl list: every record in the order of its address.

load helpers

@test "list --json has the promised form, empty and full" {
  p -q record 0x3400000
  has_shape poisonctl/records-v1 p --json list
  p -q collect kernel
  p -q record 0x3500000 --kind ce --source edac
  has_shape poisonctl/records-v1 p --json list
  same "$(json "len(it['records']), it['page_size']")" "(6, 4096)"
  same "$(json "[r['address'] for r in it['records']] == sorted(r['address'] for r in it['records'])")" True
  same "$(json "{r['node'] for r in it['records']}")" "{0}"
}

@test "list of an empty registry has an array and says so to people" {
  p -q record 0x3400000
  python3 - "$REGISTRY" <<'END'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("DELETE FROM record")
db.commit()
END
  has_shape poisonctl/records-v1 p --json list
  same "$(json "it['records']")" "[]"
  ends 0 p list
  same "$output" ""
  says "$stderr" "no suspect or faulty records"
}

@test "an address in no node has a null for it" {
  p -q record 0x5000000
  has_shape poisonctl/records-v1 p --json list
  same "$(json "it['records'][0]['node']")" None
  ends 0 p list
  says "$output" " - "
}

@test "an outcome of another boot is not shown as one of this" {
  p -q collect kernel
  ends 0 p list
  says "$output" effective failed
  echo 22222222-2222-3333-4444-555555555555 > "$MACHINE/proc/sys/kernel/random/boot_id"
  ends 0 p --json list
  same "$(json "{r['retirement'] for r in it['records']}")" "{'unknown'}"
}

@test "a listing that is left open keeps nobody from recording" {
  seq 16384 18383 | xargs printf '0x%x\n' > "$BATS_TEST_TMPDIR/frames"
  p -q collect pfn "$BATS_TEST_TMPDIR/frames"
  mkfifo "$BATS_TEST_TMPDIR/pager"
  p --json list > "$BATS_TEST_TMPDIR/pager" 3>&- &
  local listing=$!
  exec 7< "$BATS_TEST_TMPDIR/pager"
  read -r -n 1 -u 7 # it has begun, and its pipe is soon full
  ends 0 p record 0x3400000
  cat <&7 > "$BATS_TEST_TMPDIR/rest"
  exec 7<&-
  wait "$listing"
  same "$(grep -c '"address"' "$BATS_TEST_TMPDIR/rest")" 2000
}
