# What the bats files share: a machine and a registry for each test, and ways to run poisonctl.
bats_require_minimum_version 1.5.0

setup() {
  : "${POISONCTL:?must be the program to test; ctest sets it}"
  HERE=$BATS_TEST_DIRNAME
  export GOLDEN=$HERE/../golden
  MACHINE=$BATS_TEST_TMPDIR/machine
  REGISTRY=$BATS_TEST_TMPDIR/registry.db
  python3 "$HERE/machine.py" "$MACHINE"
}

# poisonctl on the machine and the registry of this test.
p() { "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" "$@"; }

# STATUS COMMAND...: runs it, keeps $output and $stderr, and fails when it ends otherwise.
ends() {
  local wanted=$1
  shift
  run --separate-stderr "$@"
  # shellcheck disable=SC2154 # run sets them
  if [ "$status" -ne "$wanted" ]; then
    printf 'status %s, expected %s: %s\nstdout: %s\nstderr: %s\n' \
      "$status" "$wanted" "$*" "$output" "$stderr" >&2
    return 1
  fi
}

# JOB [PID]: a job of this shell, of which PID is the process that it waits for, is alive, and SIGTERM ends it.
end_job() {
  local ended=0
  kill "${2:-$1}"
  wait "$1" || ended=$?
  same "$ended" $((128 + 15))
}

# WHERE TEXT...: each TEXT is in it.
says() {
  local where=$1 text
  shift
  for text in "$@"; do
    if [[ "$where" != *"$text"* ]]; then
      printf 'expected: %s\nin:       %s\n' "$text" "$where" >&2
      return 1
    fi
  done
}

# EXPECTED ACTUAL
same() {
  [ "$1" = "$2" ] || diff <(printf '%s\n' "$1") <(printf '%s\n' "$2") >&2
}

# SCHEMA COMMAND...: its standard output has that form; status 0 or 1.
has_shape() {
  local schema=$1
  shift
  run --separate-stderr "$@"
  [ "$status" -le 1 ] || return 1
  printf '%s\n' "$output" | python3 "$HERE/json_shape.py" "$schema"
}

# EXPRESSION: of the JSON in $output, as `it`.
json() { printf '%s\n' "$output" | python3 -c "import json, sys; it = json.load(sys.stdin); print(($1))"; }

# A registry with what the golden files show: two operators' records, what the kernel has flagged,
# one corrected error and three ranges that are no RAM.
fill() {
  p -q record 0x2800000 --note "memtest86+, slot A1"
  p -q record 0x3400000+8K 0x1000000
  p -q record 0x3500000 --kind ce --source edac
  p -q record 0x3fff000+8K 0x5000000 0x4100000
  p -q collect kernel
}

# Runs the rest as somebody who is not root, also when the test is.
as_user() {
  if [ "$(id -u)" -eq 0 ]; then
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
  else
    "$@"
  fi
}

# Lets as_user reach the files of this test and the program.
open_to_all() {
  chmod a+rx "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$BATS_TEST_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")"
  cp "$POISONCTL" "$BATS_TEST_TMPDIR/poisonctl"
  POISONCTL=$BATS_TEST_TMPDIR/poisonctl
}
