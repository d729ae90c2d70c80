#!/usr/bin/env bats
# The artifacts and what people see, byte by byte against tests/golden/. POISONCTL_UPDATE_GOLDEN=1
# writes those files anew (tests/golden/README.md).

load helpers

# What differs between two runs: when, which version, and where the files of the test are.
normalised() {
  sed -E -e "s#$BATS_TEST_TMPDIR/##g" \
    -e 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?Z/TIME/g' \
    -e 's/poisonctl [0-9]+\.[0-9]+\.[0-9]+/poisonctl VERSION/g' \
    -e 's/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/BOOT-ID/g' \
    -e 's/(timestamp_seconds(\{[^}]*\})?) [0-9.]+/\1 TIME/' -e 's/version="[0-9.]+"/version="VERSION"/' \
    -e 's/"duration_us":[0-9]+/"duration_us":N/' \
    -e "s/uid $(id -u),/uid UID,/g" -e "s/\"uid\": $(id -u),/\"uid\": UID,/g"
}

# What poisonctl writes into a file, in hexadecimal; its exit status.
p_hex() {
  local status=0
  p "$@" -o "$BATS_TEST_TMPDIR/bytes" || status=$?
  od -An -v -tx1 "$BATS_TEST_TMPDIR/bytes"
  return "$status"
}

# NAME STATUS WORDS...: what poisonctl WORDS prints is the file NAME, and it ends with STATUS.
is_golden() {
  local file=$GOLDEN/$1 wanted=$2
  shift 2
  ends "$wanted" "${RUN:-p}" "$@"
  if [ -n "${POISONCTL_UPDATE_GOLDEN:-}" ]; then
    printf '%s\n' "$output" | normalised > "$file"
  fi
  diff "$file" <(printf '%s\n' "$output" | normalised) >&2
}

@test "what the registry says is as in the golden files" {
  fill
  is_golden list.txt 0 list
  is_golden list.json 0 --json list
  is_golden show.txt 0 show 0x2800000
  is_golden show.json 0 --json show 0x2800000
}

@test "findings are as in the golden files" {
  fill
  is_golden check.txt 1 check
  is_golden check.json 1 --json check
}

@test "plans and artifacts are as in the golden files" {
  fill
  is_golden plan.txt 1 plan
  is_golden plan.json 1 --json plan
  is_golden backends.txt 0 backends
  is_golden emit-e820.txt 1 emit e820
  is_golden emit-merged.txt 1 emit e820 --merge 'root=/dev/sda1 ro  memmap=0x1000%0x9000-1+5 a="b c" -- single'
  is_golden emit-reserve.txt 1 emit e820 --reserve grub-default
  is_golden emit-badram.txt 1 emit e820 --form badram
  is_golden emit-cutmem.txt 1 emit e820 --form cutmem
  is_golden emit-bcdedit.txt 1 emit e820 --form bcdedit
  RUN=p_hex is_golden emit-table.hex 1 emit e820 --form table
  RUN=p_hex is_golden emit-setup-data.hex 1 emit e820 --form setup-data
  p -q record 0x3800000-0x3803fff
  is_golden emit-e820-after.txt 1 emit e820
}

@test "what this kernel does is as in the golden files" {
  fill
  is_golden verify.txt 1 verify
  is_golden verify.json 1 --json verify
  is_golden status.txt 0 status
  is_golden status.json 0 --json status
  is_golden map.txt 0 map
  is_golden metrics.txt 0 metrics
}

@test "every golden file is compared with something" {
  local file
  for file in "$GOLDEN"/*; do
    [ -f "$file" ] || continue # sources/ belongs to the unit tests
    file=${file##*/}
    [ "$file" = README.md ] || grep -q "is_golden $file " "$BATS_TEST_FILENAME" ||
      { echo "no test looks at $file" >&2; return 1; }
  done
}

@test "what a replay says is as in the golden files" {
  fill
  is_golden replay.txt 1 replay --dry-run
  is_golden replay.json 1 --json replay --dry-run
}
