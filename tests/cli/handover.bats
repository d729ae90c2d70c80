#!/usr/bin/env bats
# poisonctl handover: made, read by others, believed or not.

load helpers

make_one() {
  p -q record 0x1800000 0x1900000+16K
  p -q record 0x1a00000 --kind ce
  ends 0 p handover make -o "$BATS_TEST_TMPDIR/handover"
}
look() { ends "$1" p handover check "$BATS_TEST_TMPDIR/handover"; }

@test "what is made here is believed here, and always the same" {
  make_one
  says "$stderr" "generation 3, 20 KiB to retire, 3 ranges"
  look 0
  says "$output" "trust      accept" "to retire  20 KiB in 2 ranges; refused 0"
  cp "$BATS_TEST_TMPDIR/handover" "$BATS_TEST_TMPDIR/first"
  ends 0 p handover make -o "$BATS_TEST_TMPDIR/handover"
  cmp "$BATS_TEST_TMPDIR/first" "$BATS_TEST_TMPDIR/handover"
  has_shape poisonctl/handover-v1 p --json handover check "$BATS_TEST_TMPDIR/handover"
  same "$(json "(it['trust'], [hex(r['address']) for r in it['retire']])")" \
    "('accept', ['0x1800000', '0x1900000'])"
  # What follows it, as in a region of memory, changes nothing.
  head -c 1000 /dev/zero >> "$BATS_TEST_TMPDIR/handover"
  look 0
}

@test "dtc reads it" {
  make_one
  ends 0 dtc -q -I dtb -O dts "$BATS_TEST_TMPDIR/handover"
  says "$output" 'compatible = "poisonctl,handover"' "version = <0x01>" "count = <0x03>" \
    "page-shift = <0x0c>" "ranges = <0x00 0x1800000 0x01 0x00 0x1900000 0x04 0x00 0x1a00000 0x01>"
}

@test "what was changed, or is not ours, is refused" {
  make_one
  local file=$BATS_TEST_TMPDIR/handover
  python3 -c 'import sys
path = sys.argv[1]
blob = bytearray(open(path, "rb").read())
at = blob.index(bytes.fromhex("01800000"))
blob[at + 2] = 0x10
open(path, "wb").write(blob)' "$file"
  look 77
  says "$output" "trust      refuse" "[bad-signature]" "to retire  0 B"
  # Somebody else's, about the same machine.
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" record 0x1800000
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" handover make -o "$file"
  look 77
  says "$output" "[unknown-key]" "[older-generation]"
  # Unless the administrator trusts that key.
  mkdir -p "$MACHINE/etc/poisonctl"
  ends 0 "$POISONCTL" --registry "$BATS_TEST_TMPDIR/other.db" handover key
  printf '# the old key\n%s\n' "$output" > "$MACHINE/etc/poisonctl/trusted-keys"
  rm "$REGISTRY" "$REGISTRY.generation"
  look 0
  echo rubbish > "$MACHINE/etc/poisonctl/trusted-keys"
  look 65
  says "$stderr" "trusted-keys:1: expected"
}

@test "one of another machine is refused, one of other memory is quarantined" {
  python3 "$HERE/dmi.py" "$MACHINE" A1:S1:0:64
  make_one
  look 0
  rm -r "$MACHINE/sys/firmware/dmi"
  python3 "$HERE/dmi.py" "$MACHINE" A1:S2:0:64
  look 1
  says "$output" "trust      quarantine" "[other-topology]" "to retire  0 B" \
    "REFUSED  0x1800000-0x1800fff"
  rm -r "$MACHINE/sys/firmware/dmi"
  python3 "$HERE/dmi.py" "$MACHINE" A1:S1:0:64
  echo 00000000-8888-7777-6666-555555555555 > "$MACHINE/sys/class/dmi/id/product_uuid"
  look 77
  says "$output" "[other-host]"
}

# What a kernel sees after a kexec with noefi, and before it.
hide_smbios() {
  mkdir -p "$BATS_TEST_TMPDIR/hidden"
  mv "$MACHINE/sys/firmware/dmi" "$BATS_TEST_TMPDIR/hidden/dmi"
  mv "$MACHINE/sys/class/dmi" "$BATS_TEST_TMPDIR/hidden/class"
}
show_smbios() {
  mv "$BATS_TEST_TMPDIR/hidden/dmi" "$MACHINE/sys/firmware/dmi"
  mv "$BATS_TEST_TMPDIR/hidden/class" "$MACHINE/sys/class/dmi"
}

@test "a kernel that sees no SMBIOS believes the list of its machine, and the other way round" {
  python3 "$HERE/dmi.py" "$MACHINE" A1:S1:0:64
  make_one
  hide_smbios
  look 1
  says "$output" "trust      accept" "the kernel saw no SMBIOS" "[topology-not-known]" "to retire  20 KiB"
  [[ "$output" != *host* ]]
  local its_own=$BATS_TEST_TMPDIR/its_own
  ends 0 p handover make -o "$its_own"
  ends 0 p handover check "$its_own"
  # The records, too, are still about the memory that they were made about.
  ends 0 p --json status
  same "$(json "(it['faulty'], it['quarantined'], it['retire_list_bytes'])")" "(2, 0, 20480)"
  show_smbios
  ends 1 p handover check "$its_own"
  says "$output" "trust      accept" "[topology-not-known]" "to retire  20 KiB"
  look 0
  # It is no master key: another map, another machine id.
  hide_smbios
  sed -i 's/04000000-0400ffff : ACPI Tables/04000000-07ffffff : System RAM/' "$MACHINE/proc/iomem"
  mkdir "$MACHINE/sys/firmware/memmap/3"
  printf '0x8000000\n' > "$MACHINE/sys/firmware/memmap/3/start"
  printf '0xbffffff\n' > "$MACHINE/sys/firmware/memmap/3/end"
  echo "System RAM" > "$MACHINE/sys/firmware/memmap/3/type"
  look 1
  says "$output" "trust      quarantine" "[other-topology]" "to retire  0 B"
  rm -r "$MACHINE/sys/firmware/memmap/3"
  echo fedcba9876543210fedcba9876543210 > "$MACHINE/etc/machine-id"
  look 77
  says "$output" "[other-host]"
  # Where there is none, only the key says whose it is.
  rm "$MACHINE/etc/machine-id"
  look 1
  says "$output" "trust      accept" "[host-not-known]"
}

@test "an older one is refused while a newer list is there, and will do when nothing is" {
  make_one
  p -q record 0x1b00000
  look 77
  says "$output" "[older-generation]"
  ends 0 p handover make -o "$BATS_TEST_TMPDIR/newer"
  rm "$REGISTRY"
  look 1
  says "$output" "trust      accept" "nothing newer is left" "to retire  20 KiB"
  ends 0 p handover check "$BATS_TEST_TMPDIR/newer"
}

@test "a list for this kernel is checked again before it is believed" {
  make_one
  sed -i 's/^00100000-03ffffff/00100000-018fffff/' "$MACHINE/proc/iomem"
  printf '0x18fffff\n' > "$MACHINE/sys/firmware/memmap/1/end"
  ends 1 p --json handover check "$BATS_TEST_TMPDIR/handover"
  says "$output" other-topology
}

@test "wrong use and wrong files" {
  ends 64 p handover
  ends 64 p handover make
  ends 64 p handover check
  ends 66 p handover check "$BATS_TEST_TMPDIR/none"
  echo text > "$BATS_TEST_TMPDIR/handover"
  p -q record 0x1800000
  look 65
  says "$stderr" "is no flattened device tree"
  ends 73 p handover make -o "$BATS_TEST_TMPDIR/no/folder"
  chmod 644 "$REGISTRY.key"
  ends 77 p handover make -o "$BATS_TEST_TMPDIR/handover"
}
