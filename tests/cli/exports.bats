#!/usr/bin/env bats
# audit export --format: what spreadsheets, log collectors, Redfish, rasdaemon's tools and decoders of
# CPER take.

load helpers

# One of each kind, with texts that somebody made to do harm.
fill_hostile() {
  fill
  p -q record 0x3a00000 --note $'=HYPERLINK("http://x","y")\e[2J\r\n<script>alert(1)</script>\xe2\x80\xae'
  p -q record 0x3b00000 --note '@SUM(1+1)*cmd|" /C calc"!A0'
  p -q record 0x3c00000 --note "$(head -c 16384 /dev/zero | tr '\0' '+')"
  printf 'address,kind,time,label,note,count\n0x3900040,ce,2026-03-01T12:34:56Z,DIMM_B1,"a ""quote""",7\n' \
    > "$BATS_TEST_TMPDIR/errors.csv"
  p -q collect csv "$BATS_TEST_TMPDIR/errors.csv"
  p -q resolve 0x2800000 --as replaced --reason "-1+1 new DIMM"
}

@test "csv has every entry, on a line of its own, and no formula" {
  fill_hostile
  ends 0 p audit export --format csv -o "$BATS_TEST_TMPDIR/log.csv"
  python3 - "$BATS_TEST_TMPDIR/log.csv" "$(sqlite3 "$REGISTRY" 'SELECT count(*) FROM event')" <<'END'
import csv, sys
data = open(sys.argv[1], "rb").read()
assert all(32 <= byte < 127 or byte in b"\r\n" for byte in data), "control characters"
rows = list(csv.DictReader(data.decode("ascii").splitlines()))
assert len(rows) == int(sys.argv[2]), len(rows)
for row in rows:
    assert None not in row and None not in row.values(), row
    for cell in row.values():
        assert not cell.startswith(("=", "+", "-", "@")), cell
assert any(row["evidence"].startswith("'=HYPERLINK(\"http") for row in rows)
assert any(row["label"] == "DIMM_B1" and row["address"] == "0x3900040" and row["count"] == "7"
           and row["observed"] == "2026-03-01T12:34:56Z" for row in rows)
END
  ends 0 p audit export --format csv --dimm DIMM_B1
  same "$(wc -l <<< "$output")" 2
}

@test "ndjson fits its schema, line by line" {
  fill_hostile
  ends 0 p audit export --format ndjson -o "$BATS_TEST_TMPDIR/log.ndjson"
  ends 0 python3 "$HERE/schema_check.py" --lines event-v1 "$BATS_TEST_TMPDIR/log.ndjson"
  same "$output" "$(sqlite3 "$REGISTRY" 'SELECT count(*) FROM event')"
  ends 1 env LC_ALL=C grep -q '[^ -~]' "$BATS_TEST_TMPDIR/log.ndjson"
}

@test "redfish is one collection of log entries that fits its schema" {
  fill_hostile
  ends 0 p audit export --format redfish -o "$BATS_TEST_TMPDIR/log.json"
  ends 0 python3 "$HERE/schema_check.py" redfish-log-v1 "$BATS_TEST_TMPDIR/log.json"
  python3 - "$BATS_TEST_TMPDIR/log.json" <<'END'
import json, sys
it = json.load(open(sys.argv[1]))
assert it["Members@odata.count"] == len(it["Members"]) > 8
assert {"Critical", "Warning", "OK"} == {entry["Severity"] for entry in it["Members"]}
END
  ends 0 p audit export --format redfish --since 2200-01-01T00:00:00Z
  printf '%s\n' "$output" | python3 "$HERE/schema_check.py" redfish-log-v1
}

@test "ras-mc-ctl shows what rasdaemon's database of it says" {
  fill_hostile
  local database=$BATS_TEST_TMPDIR/ras-mc_event.db
  ends 0 p audit export --format rasdaemon -o "$database"
  says "$stderr" "entries are not in it"
  # It always reads one place; all else is as its makers wrote it.
  sed "s#/var/lib/rasdaemon/ras-mc_event.db#$database#" "$(PATH=$PATH:/usr/sbin command -v ras-mc-ctl)" > "$BATS_TEST_TMPDIR/ras-mc-ctl"
  ends 0 perl "$BATS_TEST_TMPDIR/ras-mc-ctl" --errors
  says "$output" "2026-03-01 12:34:56 +0000 7 Corrected error(s): ce by csv at DIMM_B1" "No MCE errors"
  ends 1 env LC_ALL=C grep -q '[^ -~]' <<< "$output"
  same "$(sqlite3 "$database" 'SELECT (SELECT count(*) FROM mc_event) + (SELECT count(*) FROM memory_failure_event)')" \
    "$(sqlite3 "$REGISTRY" "SELECT count(*) FROM event WHERE kind NOT IN ('outcome', 'resolution')")"
  # And poisonctl reads it back.
  ends 0 "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/again.db" collect rasdaemon "$database"
}

@test "a decoder written from the specification reads the cper records" {
  fill_hostile
  printf 'x' > "$BATS_TEST_TMPDIR/log.cper"
  ends 64 p audit export --format cper
  ends 0 p audit export --format cper -o "$BATS_TEST_TMPDIR/log.cper"
  ends 0 python3 "$HERE/cper_decode.py" "$BATS_TEST_TMPDIR/log.cper"
  says "$output" "corrected 2026-03-01T12:34:56Z DIMM_B1 flags=0 address=0x3900040 mask=0xffffffffffffffff"
  says "$output" "address=0x2800000 mask=0xfffffffffffff000"
  same "$(cut -d ' ' -f 1 <<< "$output" | sort -u | wc -l)" \
    "$(sqlite3 "$REGISTRY" "SELECT count(*) FROM event WHERE address IS NOT NULL AND kind NOT IN ('outcome', 'resolution')")"
}

@test "a form is named right, and has no signature" {
  p -q record 0x3400000
  ends 64 p audit export --format pdf
  says "$stderr" "expected csv, ndjson, redfish, cper or rasdaemon"
  ends 64 p audit export --format csv --redact
  ends 64 p audit export --format rasdaemon
}
