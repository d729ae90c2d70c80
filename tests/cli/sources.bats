#!/usr/bin/env bats
# poisonctl collect SOURCE FILE: what other tools know, from the file to the list.

load helpers

setup_file() { export EXAMPLES=$BATS_TEST_DIRNAME/../golden/sources; }

# Where tests/unit/sources/ checks every event; here it is that all of them arrive.
examples() {
  cat <<'END'
badram badram/grub.txt
bcdedit bcdedit/german-utf8.txt
cper cper/records.cper
csv csv/all.csv
cxl cxl_json/everything.json
fmpm fmpm/mi300.txt
json own_json/events.json
kernel-log kernel_log/dmesg.txt
mcelog mcelog/daemon.txt
memmap memmap_option/cmdline.txt
memtest memtest/v7-badram.txt
ndctl cxl_json/ndctl.json
pfn pfn_list/mixed.txt
rasdaemon rasdaemon/0.8.4.db
redfish redfish/log.json
END
}

# How many events the registry has.
events() { sqlite3 "$REGISTRY" "SELECT count(*) FROM event"; }

@test "every source's events arrive, once, however often the file is read" {
  local name file count
  while read -r name file; do
    rm -f "$REGISTRY"*
    ends 0 p collect "$name" "$EXAMPLES/$file"
    count=$(events)
    same "$(grep -Ec '^[a-z]+ (0x|nowhere)' "$EXAMPLES/${file%.*}.events")" "$count" || { echo "$name" >&2; return 1; }
    same "$(sqlite3 "$REGISTRY" "SELECT DISTINCT source || ' ' || origin FROM import")" \
      "$name $EXAMPLES/$file"
    cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
    ends 0 p collect "$name" "$EXAMPLES/$file"
    says "$stderr" "nothing new; $count known already"
    cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
    ends 0 p audit verify
    ends 0 p rebuild --check
  done < <(examples)
}

@test "every source is in the list" {
  local name file
  ends 0 p collect --list
  while read -r name file; do says "$output" "$name "; done < <(examples)
  says "$output" "kernel " "edac "
}

@test "a file that is cut anywhere stores nothing, or what its whole lines say" {
  local size cut
  size=$(stat -c %s "$EXAMPLES/own_json/events.json")
  for cut in 1 $((size / 3)) $((size / 2)) $((size - 3)); do
    rm -f "$REGISTRY"*
    head -c "$cut" "$EXAMPLES/own_json/events.json" > "$BATS_TEST_TMPDIR/cut.json"
    ends 65 p collect json "$BATS_TEST_TMPDIR/cut.json"
    says "$stderr" "$BATS_TEST_TMPDIR/cut.json:" "nothing was recorded"
    [ ! -e "$REGISTRY" ] || same "$(events)" 0
  done
}

@test "a bad line after good ones stores nothing" {
  p -q record 0x3400000
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  printf '0x2800\n0x2801\nrubbish\n' > "$BATS_TEST_TMPDIR/pfns"
  ends 65 p collect pfn "$BATS_TEST_TMPDIR/pfns"
  says "$stderr" "$BATS_TEST_TMPDIR/pfns:3: " "nothing was recorded"
  cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
}

@test "standard input is a file" {
  run --separate-stderr p collect pfn - <<< 0x2800
  same "$status" 0
  says "$stderr" "standard input: 1 recorded"
  ends 0 p emit e820
  same "$output" "memmap=0x1000%0x2800000-1+5"
}

@test "a mask that covers all memory is refused" {
  ends 65 p collect badram - <<< "badram=0x0,0x0"
  says "$stderr" "standard input:1:" "nothing was recorded"
  [ ! -e "$REGISTRY" ]
}

@test "a frame number beyond what addresses can be is refused" {
  ends 65 p collect pfn - <<< 0x10000000000000
  says "$stderr" "standard input:1:" "nothing was recorded"
}

@test "what names no address is evidence, and list --all shows it" {
  local folder=$MACHINE/sys/devices/system/edac/mc/mc0/dimm3
  mkdir -p "$folder"
  echo CPU_SrcID#0_MC#0_Chan#1_DIMM#0 > "$folder/dimm_label"
  echo "channel 1 slot 0" > "$folder/dimm_location"
  echo 7 > "$folder/dimm_ce_count"
  echo 0 > "$folder/dimm_ue_count"
  ends 0 p collect edac
  says "$stderr" "1 recorded" "1 of them without a place"
  same "$(sqlite3 "$REGISTRY" "SELECT source_version FROM import")" 7.2.13-test
  ends 0 p list
  same "$output" ""
  ends 0 p list --all
  says "$output" "Evidence without a place" "ce x7" CPU_SrcID#0_MC#0_Chan#1_DIMM#0
  has_shape poisonctl/records-v1 p --json list --all
  # And capture brings it along.
  p -q capture "$BATS_TEST_TMPDIR/copy"
  rm "$REGISTRY"*
  ends 0 "$POISONCTL" --sysroot "$BATS_TEST_TMPDIR/copy" --registry "$REGISTRY" collect edac
  says "$stderr" "1 recorded"
}

@test "the version of a program that says it is stored" {
  p -q collect memtest "$EXAMPLES/memtest/v7-badram.txt"
  same "$(sqlite3 "$REGISTRY" "SELECT substr(source_version, 1, 12) FROM import")" "memtest86+ 7"
}

@test "another host's list is kept apart, and one's own comes back" {
  fill
  p --json list > "$BATS_TEST_TMPDIR/list.json"
  rm "$REGISTRY"*
  ends 0 p collect json "$BATS_TEST_TMPDIR/list.json"
  ends 0 p list
  says "$output" 0x2800000-0x2800fff
  rm "$REGISTRY"*
  echo ffffffffffffffffffffffffffffffff > "$MACHINE/etc/machine-id"
  ends 0 p collect json "$BATS_TEST_TMPDIR/list.json"
  ends 0 p list
  same "$output" ""
  ends 0 p emit e820
  same "$output" ""
  ends 0 p list --all
  says "$output" "host 0123456789abcdef0123456789abcdef"
}

@test "collect without a source, a file or sense" {
  ends 64 p collect
  says "$stderr" "name a source"
  ends 64 p collect pfn
  says "$stderr" "name the file to read, or - for standard input"
  ends 64 p collect kernel somewhere
  says "$stderr" "takes no file"
  ends 66 p collect pfn "$BATS_TEST_TMPDIR/nothing"
  says "$stderr" "$BATS_TEST_TMPDIR/nothing"
  ends 66 p collect rasdaemon "$BATS_TEST_TMPDIR/nothing"
  [ ! -e "$REGISTRY" ]
}

# Each frame of the records that were listed last, whatever they are cut into.
faulty_frames() {
  json 'sorted(hex(a) for r in it["records"] if r["condition"] == "faulty" for a in range(r["address"], r["address"] + r["size"], 4096))'
}

@test "cper takes back what audit export writes" {
  fill
  # No mask says two frames, nor five.
  ends 0 p record 0x3fff000+8K 0x7001000+20K
  ends 0 p audit export --format cper -o "$BATS_TEST_TMPDIR/log.cper"
  ends 0 p --json list
  local before
  before=$(faulty_frames)
  says "$before" 0x3fff000 0x4000000 0x7005000
  rm "$REGISTRY"*
  ends 0 p collect cper "$BATS_TEST_TMPDIR/log.cper"
  ends 0 p --json list
  same "$(faulty_frames)" "$before"
}

@test "cper without a file is the record of the boot before" {
  ends 69 p collect cper
  says "$stderr" "sys/firmware/acpi/tables/data/BERT" "no record of the boot before"
  mkdir -p "$MACHINE/sys/firmware/acpi/tables/data"
  cp "$EXAMPLES/cper/bert.cper" "$MACHINE/sys/firmware/acpi/tables/data/BERT"
  ends 0 p collect cper
  says "$stderr" "2 recorded" "1 section about other things than memory"
}
