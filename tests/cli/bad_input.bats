#!/usr/bin/env bats
# Bad input never changes the registry: each kind of it, its exit status, and the file after it.

load helpers

# A registry, and a copy of it as it was.
keep() {
  p -q record 0x3400000
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
}

unchanged() {
  cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  [ ! -e "$REGISTRY-journal" ]
}

@test "ranges that are none" {
  keep
  local range words
  while IFS='|' read -r range words; do
    ends 64 p record "$range"
    says "$stderr" "range '$range'" "$words"
    ends 64 p show "$range"
    ends 64 p verify "$range"
    unchanged
  done <<'END'
|not a hexadecimal number
0x|not a hexadecimal number
zebra|not a hexadecimal number
0x1000,0x2000|not a hexadecimal number
 0x1000|not a hexadecimal number
0x1000 |not a hexadecimal number
3400000|has no 0x
deadb000|has no 0x; write 0xdeadb000
54525952|write 0x54525952 if that is what was meant, or 0x3400000 for decimal
pfn:13312|has no 0x
pfn:|not a hexadecimal number
pfn:0x3400+0|names no frame
pfn:0x3400+x|not a number
0x3400000+0|size of 0
0x3400000+|is not a number of bytes
0x3400000+4Q|is not a number of bytes
0x3400000+-1|is not a number of bytes
0x3400000+18446744073709551616|is not a number of bytes
0x3400000-|not a hexadecimal number
0x3401fff-0x3400000|lies before the first
0x3400001|not aligned
0x3400800|the frame that holds it is: 0x3400000+0x1000
0x3400000+100|not aligned
0x3400000-0x3400ffe|not aligned
0xffffffffffffffff|reaches past
0xfffffffffffff000|reaches past
0xfffffffffffff000+8K|reaches past
0xfffffffffffff000-0xffffffffffffffff|reaches past
0x100000000000000|reaches past
0xfffffffffff000+8K|reaches past
pfn:0xffffffffffffffff|reaches past
pfn:0x10000000000000|reaches past
pfn:0x1+0xfffffffffffffff|reaches past
0x10000000000000000|not a hexadecimal number
END
}

@test "page flags that end inside a word, too early, or cannot be read" {
  keep
  truncate -s $((0x4000 * 8 - 3)) "$MACHINE/proc/kpageflags"
  ends 65 p collect kernel
  says "$stderr" "kpageflags: ends inside a word, at offset $((0x4000 * 8 - 3))"
  unchanged
  truncate -s $((0x3000 * 8)) "$MACHINE/proc/kpageflags"
  ends 65 p collect kernel
  says "$stderr" "ends at frame 0x3000"
  unchanged
  truncate -s 0 "$MACHINE/proc/kpageflags"
  ends 65 p collect kernel
  unchanged
  rm "$MACHINE/proc/kpageflags"
  ends 66 p collect kernel
  ends 66 p verify
  unchanged
  mkdir "$MACHINE/proc/kpageflags"
  ends 74 p collect kernel
  ends 74 p verify
  unchanged
}

@test "page flags that this user may not read" {
  keep
  open_to_all
  chmod 0 "$MACHINE/proc/kpageflags"
  ends 71 as_user "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" verify 0x3400000
  says "$stderr" kpageflags
  unchanged
}

@test "a memory map of zeros, of nothing, or of something else" {
  keep
  printf '00000000-00000000 : System RAM\n  00000000-00000000 : Kernel code\n' \
    > "$MACHINE/proc/iomem"
  local verb
  for verb in "collect kernel" check plan "emit e820" verify status; do
    # shellcheck disable=SC2086 # words are wanted
    ends 71 p $verb
    same "$output" ""
    says "$stderr" "shows only zeros" "Run as root"
  done
  : > "$MACHINE/proc/iomem"
  ends 65 p check
  printf '00001000-00000fff : System RAM\n' > "$MACHINE/proc/iomem"
  ends 65 p check
  says "$stderr" "iomem:1"
  printf 'fd000000-fdffffff : PCI Bus 0000:00\n' > "$MACHINE/proc/iomem"
  rm -r "$MACHINE/sys/firmware"
  ends 65 p check
  says "$stderr" "no 'System RAM'"
  rm "$MACHINE/proc/iomem"
  ends 66 p check
  unchanged
}

@test "a machine that does not say its page size, or is not there" {
  keep
  printf 'short' > "$MACHINE/proc/self/auxv"
  ends 65 p record 0x3500000
  says "$stderr" AT_PAGESZ
  unchanged
  rm "$MACHINE/proc/self/auxv"
  ends 66 p record 0x3500000
  ends 66 "$POISONCTL" --sysroot "$BATS_TEST_TMPDIR/nowhere" --registry "$REGISTRY" list
  unchanged
}

# Every verb that reads or writes the registry ends so, and the file stays as it is.
all_end() {
  local wanted=$1 verb
  for verb in list "show 0x3400000" status check plan "emit e820" verify "record 0x3500000" \
      "collect kernel"; do
    # shellcheck disable=SC2086 # words are wanted
    ends "$wanted" p $verb
    same "$output" ""
    says "$stderr" "$REGISTRY"
    cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  done
}

@test "a registry that is text" {
  echo "this is no registry of anything, but a line of text that is long enough" > "$REGISTRY"
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  all_end 65
}

@test "a registry that is another program's database" {
  python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TABLE mc_event (id INTEGER PRIMARY KEY)")
db.commit()' "$REGISTRY"
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  all_end 65
  says "$stderr" "not a registry of poisonctl"
}

@test "a registry of a newer version" {
  p -q record 0x3400000
  python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("PRAGMA user_version = 7")' "$REGISTRY"
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  all_end 65
  says "$stderr" "schema version 7, this program knows 1"
}

@test "a registry without its tables" {
  p -q record 0x3400000
  python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("DROP TABLE record")
db.execute("DROP TABLE event")
db.commit()' "$REGISTRY"
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  all_end 65
}

@test "a registry with somebody's trigger in it does not run it" {
  p -q record 0x3400000
  python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("CREATE TRIGGER forget AFTER INSERT ON event BEGIN DELETE FROM record; END")
db.commit()' "$REGISTRY"
  ends 0 p record 0x3500000
  ends 0 p list
  says "$output" 0x3400000 0x3500000
}

@test "a registry that is a folder, a link, or not there" {
  mkdir "$REGISTRY"
  ends 65 p list
  ends 65 p record 0x3400000
  rmdir "$REGISTRY"
  local verb
  for verb in list "show 0x3400000" check plan "emit e820" verify; do
    # shellcheck disable=SC2086 # words are wanted
    ends 66 p $verb
    says "$stderr" "nothing has been recorded there yet"
  done
  [ ! -e "$REGISTRY" ]
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/real.db" record 0x3400000
  ln -s real.db "$REGISTRY"
  cp "$BATS_TEST_TMPDIR/real.db" "$BATS_TEST_TMPDIR/before"
  run p record 0x3500000
  [ "$status" -ne 0 ]
  says "$output" "symbolic link"
  cmp "$BATS_TEST_TMPDIR/real.db" "$BATS_TEST_TMPDIR/before"
  ends 66 "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/no/such.db" record 0x3400000
  says "$stderr" "its folder does not exist"
}

@test "a registry that may not be written, or not be read" {
  keep
  open_to_all
  chmod 444 "$REGISTRY"
  local user=(as_user "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY")
  ends 73 "${user[@]}" record 0x3500000
  says "$stderr" read-only
  ends 73 "${user[@]}" collect kernel
  ends 0 "${user[@]}" list
  ends 0 "${user[@]}" emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
  chmod 0 "$REGISTRY"
  ends 71 "${user[@]}" list
  ends 71 "${user[@]}" record 0x3500000
  chmod 600 "$REGISTRY"
  unchanged
}

@test "a registry that another process keeps locked" {
  keep
  # The lock of a writer in the middle of its commit.
  coproc HOLDER { python3 -c 'import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()' "$REGISTRY"; }
  local held holder=$HOLDER_PID
  read -r held <&"${HOLDER[0]}"
  same "$held" held
  ends 75 p list
  says "$stderr" "try again"
  ends 75 p record 0x3500000
  end_job "$holder"
  unchanged
  ends 0 p record 0x3500000
}

# LIMIT (KiB) SIGNAL COMMAND...: no file may grow beyond; SIGNAL is "kills" or "ignored".
limited() {
  local limit=$1 signal=$2
  shift 2
  (
    ulimit -c 0
    [ "$signal" = kills ] || trap '' XFSZ
    ulimit -f "$limit"
    exec "$@"
  )
}

@test "a registry on a full disk" {
  keep
  local note signal
  note=$(printf 'x%.0s' $(seq 16000))
  for signal in ignored kills; do
    ends 73 limited 32 "$signal" "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" record \
      0x3500000+4K 0x3600000 0x3700000 0x3800000 0x3900000 0x3a00000 --note "$note"
    ends 0 p list
    [[ "$output" != *0x3500000* ]]
    unchanged
  done
}

@test "no room for the registry itself leaves nothing that stands in the way" {
  ends 73 limited 0 ignored "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" record 0x3400000
  ends 0 p record 0x3400000
  ends 0 p list
  says "$output" 0x3400000-0x3400fff
}

@test "a reader after a writer that was killed in the middle" {
  keep
  python3 - "$REGISTRY" <<'END'
import os, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size = 1")
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE record SET sources = 'half written'")
for number in range(200):
    db.execute("INSERT INTO event SELECT NULL, import, kind, address, size, granularity, count, "
               "observed_ns, foreign_host, label, dram, result, state, ?, hash "
               "FROM event WHERE id = 1", ("x" * 4000,))
os._exit(0)
END
  [ -s "$REGISTRY-journal" ]
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
  ends 0 p list
  [[ "$output" != *"half written"* ]]
}
