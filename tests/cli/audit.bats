#!/usr/bin/env bats
# poisonctl audit verify, rebuild, snapshot, recover and upgrade: that the log is what was written,
# and what to do when it is not.

load helpers

# SQL: changes the registry past poisonctl.
tamper() { sqlite3 "$REGISTRY" "$1"; }

@test "audit verify finds a log as it was written" {
  fill
  ends 0 p audit verify
  says "$output" "each as it was written" "pinned by a signed checkpoint at entry"
  has_shape poisonctl/audit-v1 p --json audit verify
  same "$(json "it['findings'], it['first_bad'], it['events'] == it['checkpoint']['events']")" \
    "([], None, True)"
  same "$(stat -c %a "$REGISTRY.key")" 600
}

@test "a checker written from the description alone agrees" {
  fill
  ends 0 p --json audit verify
  local head
  head=$(json "str(it['events']) + ' events, head ' + it['head']")
  ends 0 python3 "$HERE/../chain_check.py" "$REGISTRY" "$REGISTRY.head"
  same "$head" "$output"
  tamper "UPDATE event SET evidence = 'forged' WHERE id = 2"
  ends 1 python3 "$HERE/../chain_check.py" "$REGISTRY"
}

@test "audit verify names the first entry that was tampered with" {
  local sql first
  while IFS='|' read -r first sql; do
    rm -f "$REGISTRY"*
    p -q record 0x3400000
    p -q record 0x3500000
    p -q record 0x3600000
    tamper "$sql"
    ends 1 p audit verify
    says "$output" "error: entry $first "
  done <<'END'
2|UPDATE event SET evidence = 'forged' WHERE id = 2
2|UPDATE event SET address = address + 4096 WHERE id = 2
2|UPDATE import SET uid = uid + 1 WHERE id = 2
3|UPDATE event SET hash = zeroblob(32) WHERE id = 3
2|DELETE FROM event WHERE id = 2
1|DELETE FROM event WHERE id = 1
2|UPDATE event SET id = 9 WHERE id = 2; UPDATE event SET id = 2 WHERE id = 3; UPDATE event SET id = 3 WHERE id = 9
END
}

@test "audit verify finds that the end of the log was cut" {
  p -q record 0x3400000
  p -q record 0x3500000
  tamper "DELETE FROM event WHERE id = 2"
  ends 1 p audit verify
  says "$output" "the log ends at entry 1" "knew 2: the last 1 were cut off"
}

@test "audit verify finds a log that was written again from an earlier place" {
  p -q record 0x3400000
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/early"
  p -q record 0x3500000
  cp "$BATS_TEST_TMPDIR/early" "$REGISTRY"
  p -q record 0x3600000
  ends 1 p audit verify
  says "$output" "entry 2 is not the one that the signed checkpoint" "written again"
}

@test "audit verify does not believe a checkpoint that somebody else signed or changed" {
  p -q record 0x3400000
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" record 0x3400000
  cp "$REGISTRY.head" "$BATS_TEST_TMPDIR/head"
  cp "$BATS_TEST_TMPDIR/other.db.head" "$REGISTRY.head"
  ends 1 p audit verify
  says "$output" "signed by another key"
  sed 's/^events 1$/events 0/' "$BATS_TEST_TMPDIR/head" > "$REGISTRY.head"
  ends 1 p audit verify
  says "$output" "its signature does not fit its content"
  rm "$REGISTRY.head"
  ends 1 p audit verify
  says "$output" "is not there: whether the end of the log was cut cannot be told"
}

@test "a key that others can read is not used, and that is said" {
  p -q record 0x3400000
  chmod 644 "$REGISTRY.key"
  ends 0 p record 0x3500000
  says "$stderr" "stored, but the signed checkpoint could not follow" "mode 0644"
  ends 0 p list
  says "$output" 0x3500000
}

@test "rebuild proves that the records are what the events say, and mends them" {
  fill
  ends 0 p rebuild --check
  says "$stderr" "exactly what the events add up to"
  tamper "UPDATE record SET condition = 'suspect' WHERE address = 0x2800000"
  ends 1 p rebuild --check
  says "$stderr" "'poisonctl rebuild' makes them again"
  ends 1 p rebuild
  says "$stderr" "they were made again"
  ends 0 p rebuild --check
  ends 0 p audit verify
}

@test "a snapshot is a whole registry, and only the newest stay" {
  p -q record 0x3400000
  for _ in 1 2 3; do
    ends 0 p snapshot --keep 2
    says "$output" "$REGISTRY.snapshot-"
    sleep 1
  done
  same "$(find "$BATS_TEST_TMPDIR" -name 'registry.db.snapshot-*' | wc -l)" 2
  ends 0 "$POISONCTL" --sysroot "$MACHINE" --registry "$output" list
}

@test "a damaged registry is set aside, and what can be read is saved" {
  local address
  for address in 0x3400000 0x3500000 0x3600000; do p -q record "$address"; done
  p -q snapshot
  p -q record 0x3700000
  local size
  size=$(stat -c %s "$REGISTRY")
  dd if=/dev/urandom of="$REGISTRY" bs=1 seek=1024 count=$((size - 1024)) conv=notrunc status=none
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/damaged"
  ends 1 p recover
  says "$output" "from a snapshot   3 entries of $REGISTRY.snapshot-" "damaged file      $REGISTRY."
  local aside
  aside=$(sed -n 's/^damaged file *//p' <<< "$output")
  cmp "$aside" "$BATS_TEST_TMPDIR/damaged"
  ends 0 p list
  for address in 0x3400000 0x3500000 0x3600000; do says "$output" "$address"; done
  ends 0 p recover
  says "$stderr" "is whole; nothing was done"
}

@test "a registry of the first schema is upgraded, and a copy kept" {
  cp "$HERE/../crash/registry-schema-1.db" "$REGISTRY"
  ends 65 p list
  says "$stderr" "older schema version 1" "'poisonctl upgrade'"
  ends 0 p upgrade
  diff <(sqlite3 "$REGISTRY.schema-1" .dump) <(sqlite3 "$HERE/../crash/registry-schema-1.db" .dump)
  ends 0 p list
  says "$output" 0x
  ends 0 p audit verify
  ends 0 p rebuild --check
}

@test "a newer schema is refused with its version and left alone" {
  p -q record 0x3400000
  tamper "PRAGMA user_version = 99"
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  ends 65 p list
  says "$stderr" "schema version 99"
  ends 65 p record 0x3500000
  ends 65 p upgrade
  cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
}

@test "audit knows no other word" {
  p -q record 0x3400000
  ends 64 p audit
  ends 64 p audit prove
  says "$stderr" "audit 'prove': expected verify"
}
