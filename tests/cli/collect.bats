#!/usr/bin/env bats
# poisonctl collect kernel: each flagged frame of RAM is recorded once a boot, with its outcome.

load helpers

@test "collect records what the kernel has flagged, and what became of it" {
  ends 0 p collect kernel
  same "$output" ""
  says "$stderr" "4 poisoned in page flags: 4 recorded in $REGISTRY, 0 known from this boot"
  ends 0 p --json list
  same "$(json "[(hex(r['address']), r['exact'], r['retirement']) for r in it['records']]")" \
    "[('0x800000', False, 'effective'), ('0x2800000', True, 'effective'), ('0x3000000', True, 'effective'), ('0x3001000', True, 'failed')]"
}

@test "collect again in the same boot changes nothing, in another boot it is news" {
  p -q collect kernel
  cp "$REGISTRY" "$REGISTRY.before"
  ends 0 p collect kernel
  says "$stderr" "0 recorded" "4 known from this boot"
  cmp "$REGISTRY" "$REGISTRY.before"
  echo 22222222-2222-3333-4444-555555555555 > "$MACHINE/proc/sys/kernel/random/boot_id"
  ends 0 p collect kernel
  says "$stderr" "4 recorded" "0 known from this boot"
}

# FRAME FLAGS: what the kernel says of that frame now.
flag() { python3 -c '
import struct, sys
with open(sys.argv[1], "r+b") as file:
    file.seek(int(sys.argv[2], 0) * 8)
    file.write(struct.pack("<Q", int(sys.argv[3], 0)))' "$MACHINE/proc/kpageflags" "$@"; }

@test "poison that goes away and comes back in the same boot is news" {
  p -q collect kernel
  p -q resolve 0x2800000 0x3000000 --as replaced --reason "the module was exchanged while it ran"
  # Still flagged: what somebody has ended stays so.
  ends 0 p collect kernel
  says "$stderr" "0 recorded" "4 known from this boot"
  flag 0x2800 0x400
  ends 0 p collect kernel
  says "$stderr" "3 poisoned in page flags: 0 recorded" "3 known from this boot; 1 range poisoned no more: "
  ends 0 p collect kernel
  says "$stderr" "3 poisoned in page flags: 0 recorded" "3 known from this boot"
  [[ "$stderr" != *"no more"* ]]
  ends 0 p show 0x2800000
  says "$output" "condition   resolved" "unpoisoned" "no HWPOISON there"
  ends 0 p --json status
  local generation
  generation=$(json "it['generation']")
  flag 0x2800 0x80000
  ends 0 p collect kernel
  says "$stderr" "0x2800000-0x2800fff was resolved, and has failed again since" \
    "4 poisoned in page flags: 1 recorded" "3 known from this boot"
  ends 0 p --json list
  same "$(json "[hex(r['address']) for r in it['records']]")" "['0x800000', '0x2800000', '0x3001000']"
  ends 0 p --json status
  [ "$(json "it['generation']")" -gt "$generation" ]
  ends 0 p --json show 0x2800000
  same "$(json "[e['kind'] for e in it['events']]")" "['poisoned', 'outcome', 'resolution', 'unpoisoned', 'poisoned']"
}

@test "all page flags are read when the kernel counts no poison any more" {
  p -q collect kernel
  local frame
  for frame in 0x2800 0x3000 0x3001; do flag "$frame" 0x400; done
  sed -i 's/^HardwareCorrupted:.*/HardwareCorrupted: 0 kB/' "$MACHINE/proc/meminfo"
  ends 0 p collect kernel
  says "$stderr" "1 poisoned in page flags: 0 recorded" "3 ranges poisoned no more"
  ends 0 p --json list
  same "$(json "[(hex(r['address']), r['condition'], r['retirement']) for r in it['records']]")" \
    "[('0x800000', 'faulty', 'effective'), ('0x2800000', 'faulty', 'pending'), ('0x3000000', 'faulty', 'pending'), ('0x3001000', 'faulty', 'pending')]"
  ends 0 p audit verify
  ends 0 p rebuild --check
}

@test "collect without poison makes no registry; --full looks all the same" {
  sed -i 's/^HardwareCorrupted:.*/HardwareCorrupted: 0 kB/' "$MACHINE/proc/meminfo"
  ends 0 p collect kernel
  says "$stderr" "counts no poisoned memory; --full reads all page flags anyway"
  [ ! -e "$REGISTRY" ]
  ends 0 p collect kernel --full
  says "$stderr" "4 recorded"
}

@test "collect says when the count and the flags differ" {
  printf '%08x-%08x : System RAM\n' 0x1000 0x7fffff > "$MACHINE/proc/iomem"
  ends 0 p collect kernel
  says "$stderr" "counts 20 KiB of poisoned memory, but no frame of RAM is flagged"
  [ ! -e "$REGISTRY" ]
}

@test "the number of threads changes nothing but the speed" {
  local threads
  for threads in 0 1 2 256; do
    rm -f "$REGISTRY"
    ends 0 p collect kernel --threads "$threads"
    says "$stderr" "4 recorded"
  done
  ends 64 p collect kernel --threads 257
  ends 64 p collect kernel --threads x
}

@test "collect -v says how much was read" {
  ends 0 p -v collect kernel
  says "$stderr" "read the page flags of"
}

@test "collect fails without what it needs" {
  ends 64 p collect lint
  says "$stderr" "there is no source 'lint'; 'poisonctl collect --list' lists them"
  ends 69 p collect edac
  says "$stderr" "has no memory controller"
  sed -i '/HardwareCorrupted/d' "$MACHINE/proc/meminfo"
  ends 69 p collect kernel
  says "$stderr" CONFIG_MEMORY_FAILURE
  rm "$MACHINE/proc/meminfo"
  ends 66 p collect kernel
  [ ! -e "$REGISTRY" ]
}

@test "a pipe that another program still writes keeps nobody from the registry" {
  p -q record 0x3500000
  mkfifo "$BATS_TEST_TMPDIR/pipe"
  p -q collect kernel-log - < "$BATS_TEST_TMPDIR/pipe" &
  local job=$!
  exec 9> "$BATS_TEST_TMPDIR/pipe"
  # More than a pipe holds: it has been read from when this returns.
  for ((i = 0; i < 3000; ++i)); do
    echo "Memory failure: 0x3400: recovery action for page $i: Recovered"
  done >&9
  ends 0 p record 0x3600000
  exec 9>&-
  wait "$job"
  ends 0 p -q list
  says "$output" 0x3400000-0x3400fff 0x3500000-0x3500fff 0x3600000-0x3600fff
  same "$(find "$(dirname "$REGISTRY")" -name '.poisonctl*')" ""
}

@test "what is no pipe is not kept, and without a folder for it nothing is" {
  # Were it kept, it would fill the disk. SC2016: the inner shell expands.
  # shellcheck disable=SC2016
  ends 65 bash -c 'ulimit -f 4096; exec "$@"' - \
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" collect csv /dev/zero
  says "$stderr" "/dev/zero"
  ends 0 "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/none/r.db" collect kernel-log - < <(:)
  ends 66 "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/none/r.db" collect pfn - < <(echo 0x3400)
  says "$stderr" "make it first"
}
