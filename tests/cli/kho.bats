#!/usr/bin/env bats
# poisonctl kho, and collect handover: what kexec handover holds, and a list that goes on in a new
# registry. What takes a kernel is in tests/qemu.

load helpers

DEBUG=sys/kernel/debug/kho

# The list of a registry with 3 frames to retire, a suspect and a resolved one, in $HANDOVER.
make_list() {
  HANDOVER=$BATS_TEST_TMPDIR/handover
  p -q record 0x1800000 0x1900000+8K 0x1a00000
  p -q record 0x1b00000 --kind ce
  p -q resolve 0x1a00000 --as cleared --reason "tested good"
  ends 0 p handover make -o "$HANDOVER"
}

# A machine that has just booted: the key is there, the registry is not.
forget() { rm "$REGISTRY" "$REGISTRY.head" "$REGISTRY.generation"; }

# The words "ADDRESS SIZE CONDITION" of each record.
conditions() {
  ends 0 p --json list --all
  json "[(hex(r['address']), r['size'], r['condition']) for r in it['records']]"
}

ALL="[('0x1800000', 4096, 'faulty'), ('0x1900000', 8192, 'faulty'), ('0x1a00000', 4096, 'resolved'), ('0x1b00000', 4096, 'suspect')]"

@test "a list goes on in a new registry, resolved frames stay resolved, and it never grows older" {
  make_list
  same "$(conditions)" "$ALL"
  forget
  ends 0 p collect handover "$HANDOVER"
  says "$stderr" "5 recorded in"
  same "$(conditions)" "$ALL"
  # Read again there is nothing new of it, although the new list is of a newer generation.
  ends 77 p collect handover "$HANDOVER"
  says "$stderr" "older-generation"
  ends 0 p handover make -o "$HANDOVER.2"
  ends 0 p --json handover check "$HANDOVER.2"
  same "$(json "it['generation']")" 10  # 5, and the 5 events that were recorded
  forget
  ends 0 p collect handover "$HANDOVER.2"
  same "$(conditions)" "$ALL"
}

@test "a handover that is not believed is not recorded" {
  make_list
  forget
  rm "$REGISTRY.key"
  ends 77 p collect handover "$HANDOVER"
  says "$stderr" "unknown-key" "nothing was recorded"
  [ ! -e "$REGISTRY" ]
  ends 65 p collect handover "$MACHINE/proc/iomem"
  ends 66 p collect handover "$BATS_TEST_TMPDIR/none"
  ends 64 p collect handover
  ends 64 p collect handover -
}

@test "receive takes the newest list that is believed, and says what is wrong with others" {
  make_list
  mkdir -p "$MACHINE/poisonctl" "$MACHINE/run/poisonctl/preserved"
  cp "$HANDOVER" "$MACHINE/poisonctl/handover"
  p -q record 0x1c00000
  ends 0 p handover make -o "$MACHINE/run/poisonctl/preserved/poisonctl-0.0"
  forget
  has_shape poisonctl/kho-receive-v1 p --json kho receive
  [ "$status" -eq 0 ]
  same "$(json "(it['taken'].removeprefix('$MACHINE'), it['added'], [l['generation'] for l in it['lists']])")" \
    "('/run/poisonctl/preserved/poisonctl-0.0', 6, [6, 5])"
  # The registry is newer now than both: nothing is taken, and that is no finding.
  ends 0 p --json kho receive
  same "$(json "(it['taken'], it['findings'])")" "(None, [])"
  # A flipped bit in the newest: the one before it is taken, and it is said.
  forget
  printf '\377' | dd of="$MACHINE/run/poisonctl/preserved/poisonctl-0.0" bs=1 seek=200 conv=notrunc status=none
  ends 1 p --json kho receive
  same "$(json "(it['taken'].removeprefix('$MACHINE'), len(it['findings']) > 0)")" \
    "('/poisonctl/handover', True)"
}

@test "two lists of one generation that differ are a finding" {
  make_list
  mkdir -p "$MACHINE/poisonctl" "$MACHINE/run/poisonctl/preserved"
  cp "$HANDOVER" "$MACHINE/poisonctl/handover"
  forget
  p -q record 0x2000000 0x2100000 0x2200000 0x2300000 0x2400000
  ends 0 p handover make -o "$MACHINE/run/poisonctl/preserved/poisonctl-0.0"
  forget
  ends 1 p kho receive
  says "$stderr" "both are of generation 5, and their ranges differ"
}

@test "no list is no finding" {
  ends 0 p kho receive
  says "$stderr" "no list came with this boot"
  [ ! -e "$REGISTRY" ]
}

# A kernel that was reached with KHO, as its debugfs shows it.
add_kho() {
  mkdir -p "$MACHINE/$DEBUG/in/sub_fdts" "$MACHINE/$DEBUG/out/sub_fdts"
  cp "$GOLDEN/kho/root-$1.dtb" "$MACHINE/$DEBUG/in/fdt"
  printf 'luo-v5\0\0%24s' "" > "$MACHINE/$DEBUG/in/sub_fdts/LUO"
  cp "$GOLDEN/kho/hwpoison-$1.bin" "$MACHINE/$DEBUG/in/sub_fdts/hwpoison"
  # debugfs shows as much of it as there was at first.
  head -c 100 "$GOLDEN/kho/root-$1.dtb" > "$MACHINE/$DEBUG/out/fdt"
  printf 'luo-v5\0\0%24s' "" > "$MACHINE/$DEBUG/out/sub_fdts/LUO"
  printf '0x1000000\n0x0\n' > "$MACHINE/$DEBUG/out/scratch_phys"
  printf '0x200000\n0x0\n' > "$MACHINE/$DEBUG/out/scratch_len"
}

@test "inspect shows what came in and what goes out, and flags other versions" {
  local order=le other=be
  if python3 -c 'import sys; sys.exit(sys.byteorder == "little")'; then order=be other=le; fi
  add_kho $order
  has_shape poisonctl/kho-v1 p --json kho inspect
  # Which frames the kernel's list has cannot be told: a captured machine has no memory.
  [ "$status" -eq 1 ]
  same "$(json "[(d['direction'], d['version'], [(s['name'], s['address'], s['bytes']) for s in d['subtrees']]) for d in it['directions']]")" \
    "[('in', 'kho-v4', [('LUO', 4563386368, 32), ('hwpoison', 8192, 32)]), ('out', None, [('LUO', None, 32)])]"
  same "$(json "(it['scratch'], len(it['findings']), it['directions'][0]['subtrees'][1]['decoded']['count'])")" \
    "([{'address': 16777216, 'size': 2097152}], 1, 3)"
  ends 0 p kho inspect out
  says "$output" "out: the kernel does not show its root tree" "LUO, 32 bytes: live update orchestrator, luo-v5" \
    "scratch 0x1000000-0x11fffff (2 MiB)"
  # A list of the other byte order is not mistaken for one of ours.
  cp "$GOLDEN/kho/hwpoison-$other.bin" "$MACHINE/$DEBUG/in/sub_fdts/hwpoison"
  ends 1 p kho inspect in
  says "$stderr" "other byte order"
  rm "$MACHINE/$DEBUG/in/sub_fdts/hwpoison"
  sed -i 's/kho-v4/kho-v9/' "$MACHINE/$DEBUG/in/fdt"
  # The kernel has freed what it read of LUO: whatever is there now says nothing.
  printf 'luo-v6\0\0%24s' "" > "$MACHINE/$DEBUG/in/sub_fdts/LUO"
  printf 'luo-v6\0\0%24s' "" > "$MACHINE/$DEBUG/out/sub_fdts/LUO"
  ends 1 p --json kho inspect
  same "$(json "[f.split(': is of version ')[1].split(',')[0] for f in it['findings']]")" \
    "['kho-v9', 'luo-v6']"
}

@test "inspect shows a list of ours" {
  make_list
  add_kho le
  cp "$HANDOVER" "$MACHINE/$DEBUG/out/sub_fdts/poisonctl"
  ends 0 p kho inspect out
  says "$output" "a list of poisonctl, generation 5, 4 ranges"
}

@test "what is missing is said, with what to do" {
  ends 69 p kho inspect
  says "$stderr" "boot with kho=on liveupdate=on"
  echo "quiet kho=on" > "$MACHINE/proc/cmdline"
  ends 69 p kho inspect
  says "$stderr" "mount debugfs"
  ends 64 p kho hold
  says "$stderr" "--sysroot cannot be given"
  ends 64 p kho inspect sideways
  ends 64 p kho
  p -q record 0x1800000
  ends 69 p plan kho
  says "$stderr" "boot with liveupdate=on"
}

@test "where the kernel has live update, emit writes what goes there" {
  p -q record 0x1800000
  mkdir -p "$MACHINE/sys/class/misc/liveupdate"
  ends 64 p emit kho
  ends 0 p emit kho -o "$BATS_TEST_TMPDIR/out"
  ends 0 dtc -q -I dtb -O dts "$BATS_TEST_TMPDIR/out"
  says "$output" 'compatible = "poisonctl,handover"'
  ends 0 p handover check "$BATS_TEST_TMPDIR/out"
  ends 0 p plan kho
  says "$output" "kexec -c" "128 KiB of RAM"
}
