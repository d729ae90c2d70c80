#!/usr/bin/env bats
# poisonctl resolve: a record ends with a reason, and opens again when the frame fails again.

load helpers

@test "a resolved frame is given back to the next kernel, and stays in the log" {
  p -q record 0x3400000 0x3500000
  ends 0 p resolve 0x3400000 --as replaced --reason "slot A1 has a new DIMM"
  says "$stderr" "1 resolved as replaced; the next kernel may use the memory again"
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x3500000-1+5"
  ends 0 p list
  [[ "$output" != *0x3400000* ]]
  ends 0 p list --all
  says "$output" 0x3400000-0x3400fff resolved
  ends 0 p show 0x3400000
  says "$output" "resolved    replaced" "slot A1 has a new DIMM" "resolution replaced from operator"
  has_shape poisonctl/records-v1 p --json list --all
  same "$(json "[(r['resolution'], r['reason']) for r in it['records'] if r['condition'] == 'resolved']")" \
    "[('replaced', 'slot A1 has a new DIMM')]"
  ends 0 p status
  says "$output" "1 faulty, 0 suspect, 1 resolved"
}

@test "an error on a resolved frame opens it again and says so" {
  p -q record 0x3400000
  p -q resolve 0x3400000 --as repaired --reason "ppr"
  ends 0 p record 0x3400000 --note "failed again"
  says "$stderr" "warning: 0x3400000-0x3400fff was resolved, and has failed again since"
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
  ends 0 p show 0x3400000
  says "$output" "reopened    once"
}

@test "an old error that is read late does not open a resolved frame" {
  p -q record 0x3400000
  p -q resolve 0x3400000 --as replaced --reason "new DIMM"
  printf 'address,kind,time\n0x3400000,ue,2020-01-01T00:00:00Z\n' > "$BATS_TEST_TMPDIR/old.csv"
  ends 0 p collect csv "$BATS_TEST_TMPDIR/old.csv"
  ends 0 p emit e820
  same "$output" ""
}

@test "resolve wants a reason, a known word and whole records" {
  p -q record 0x3400000+8K
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  ends 64 p resolve 0x3400000+8K
  says "$stderr" "--as repaired|replaced|cleared|acquitted and --reason TEXT are both needed"
  ends 64 p resolve 0x3400000+8K --as replaced
  ends 64 p resolve 0x3400000+8K --as gone --reason x
  says "$stderr" "--as 'gone': expected repaired, replaced, cleared or acquitted"
  ends 64 p resolve 0x3400000+8K --as replaced --reason "  "
  says "$stderr" "--reason: expected 1 to 16384 bytes"
  ends 64 p resolve 0x3400000 --as replaced --reason x
  says "$stderr" "the record 0x3400000-0x3401fff reaches out of it" "Nothing was resolved"
  ends 66 p resolve 0x3500000 --as replaced --reason x
  says "$stderr" "has no suspect or faulty record"
  cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
}

@test "corrected errors make a frame suspect, and faulty when there are many" {
  local i
  printf 'address,kind,count,time\n' > "$BATS_TEST_TMPDIR/ce.csv"
  for i in 1 2; do echo "0x3400000,ce,25,2026-03-01T12:0$i:00Z" >> "$BATS_TEST_TMPDIR/ce.csv"; done
  p -q collect csv "$BATS_TEST_TMPDIR/ce.csv"
  ends 0 p list
  says "$output" suspect
  ends 0 p emit e820
  same "$output" ""
  printf 'address,kind,count,time\n0x3400000,ce,1,2026-03-01T12:03:00Z\n' > "$BATS_TEST_TMPDIR/51.csv"
  p -q collect csv "$BATS_TEST_TMPDIR/51.csv"
  ends 0 p list
  says "$output" faulty " 51 "
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
}

# Waits until process $1 sleeps in a system call of the kind nanosleep: SQLite that waits for a lock.
until_it_waits() {
  for ((i = 0; i < 300; ++i)); do
    [[ "$(cat "/proc/$1/wchan")" == *nanosleep* ]] && return
    sleep 0.1
  done
  return 1
}

# VERB...: runs it so that a failure of the frame is stored after it has read, and before it writes.
fails_meanwhile() {
  python3 - "$REGISTRY" <<'END' &
import sqlite3, sys, time
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
time.sleep(60)
END
  local holder=$! verb
  for ((i = 0; i < 300; ++i)); do
    [ -e "$REGISTRY-journal" ] || python3 -c '
import sqlite3, sys
try: sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError: sys.exit(0)
sys.exit(1)' "$REGISTRY" && break
    sleep 0.1
  done
  "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" "$@" > "$BATS_TEST_TMPDIR/said" 2>&1 &
  verb=$!
  until_it_waits "$verb" || { cat "$BATS_TEST_TMPDIR/said" >&2; return 1; }
  kill -STOP "$verb"
  kill "$holder"
  wait "$holder" || true
  p -q record 0x3400000 --note "failed meanwhile"
  kill -CONT "$verb"
  status=0
  wait "$verb" || status=$?
}

@test "a failure that nobody has looked at is not resolved with the record" {
  p -q record 0x3400000 0x3500000
  fails_meanwhile resolve 0x3400000 0x3500000 --as replaced --reason "slot A1 has a new DIMM"
  same "$status" 75
  says "$(cat "$BATS_TEST_TMPDIR/said")" "0x3400000-0x3400fff: was seen to fail (entry 3)" \
    "Nothing was resolved"
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5,0x1000%0x3500000-1+5"
  # What fails elsewhere changes nothing.
  fails_meanwhile resolve 0x3500000 --as replaced --reason "slot A1 has a new DIMM"
  same "$status" 0
}
