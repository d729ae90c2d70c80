#!/usr/bin/env bats
# poisonctl emit devicetree: a tree that dtc and fdtoverlay take, and what is wrong with others.

load helpers

# An arm64 machine of 1 GiB at 1 GiB; further text is what its tree has besides.
arm_machine() {
  rm -r "$MACHINE/sys/firmware"
  mkdir "$MACHINE/sys/firmware"
  echo aarch64 > "$MACHINE/proc/sys/kernel/arch"
  mkdir -p "$MACHINE/boot"
  echo CONFIG_EFI=y > "$MACHINE/boot/config-7.2.13-test"
  echo '40000000-7fffffff : System RAM' > "$MACHINE/proc/iomem"
  tree_of "${1:-}" > "$MACHINE/sys/firmware/fdt"
}

tree_of() {
  dtc -q -I dts -O dtb - <<END
/dts-v1/;
/ {
  #address-cells = <2>;
  #size-cells = <2>;
  memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000>; };
  $1
};
END
}

text_of() { dtc -q -I dtb -O dts "$1"; }

@test "dtc reads the tree, and the nodes are in it" {
  arm_machine
  p -q record 0x40001000 0x50000000+64K
  ends 0 p emit devicetree -o "$BATS_TEST_TMPDIR/out.dtb"
  same "$output" ""
  run text_of "$BATS_TEST_TMPDIR/out.dtb"
  says "$output" "poisonctl@40001000" "reg = <0x00 0x40001000 0x00 0x1000>;" "no-map;" \
    "reg = <0x00 0x50000000 0x00 0x10000>;" "ranges;" "memory@40000000"
  # What this boot has left out stays on the list, and the tree of the next one is the same.
  cp "$BATS_TEST_TMPDIR/out.dtb" "$MACHINE/sys/firmware/fdt"
  printf '%s\n' "40000000-40000fff : System RAM" "40001000-40001fff : reserved" \
    "40002000-4fffffff : System RAM" "50000000-5000ffff : reserved" \
    "50010000-7fffffff : System RAM" > "$MACHINE/proc/iomem"
  ends 0 p emit devicetree -o "$BATS_TEST_TMPDIR/again.dtb"
  cmp "$BATS_TEST_TMPDIR/out.dtb" "$BATS_TEST_TMPDIR/again.dtb"
}

@test "fdtoverlay lays the overlay over the tree, with and without reservations in it" {
  arm_machine
  p -q record 0x40001000
  local there tree=$BATS_TEST_TMPDIR/base.dtb
  for there in "" "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
      theirs@60000000 { reg = <0 0x60000000 0 0x1000>; }; };"; do
    tree_of "$there" > "$tree"
    ends 0 p emit devicetree --dtb "$tree" --overlay -o "$BATS_TEST_TMPDIR/out.dtbo"
    fdtoverlay -i "$tree" -o "$BATS_TEST_TMPDIR/both.dtb" "$BATS_TEST_TMPDIR/out.dtbo"
    run text_of "$BATS_TEST_TMPDIR/both.dtb"
    says "$output" "poisonctl@40001000" "no-map;"
    [ -z "$there" ] || says "$output" "theirs@60000000"
  done
}

@test "what a tree has reserved already is said, and the status is 1" {
  arm_machine "reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
      theirs@60000000 { reg = <0 0x60000000 0 0x1000>; no-map; }; };"
  p -q record 0x40001000 0x60000000
  ends 1 p emit devicetree -o "$BATS_TEST_TMPDIR/out.dtb"
  says "$stderr" "0x60000000-0x60000fff is not covered" "/reserved-memory/theirs@60000000"
}

@test "a thousand frames are more than the kernel's table has room for" {
  arm_machine
  # shellcheck disable=SC2046 # words are wanted
  p -q record $(for i in $(seq 600); do printf '0x%x ' $((0x40000000 + i * 8192)); done)
  has_shape poisonctl/plan-v1 p --json plan devicetree
  [ "$status" -eq 1 ]
  same "$(json "[(len(b['covered']), len(b['refused']), b['artifact']) for b in it['backends']]")" \
    "[(495, 105, None)]"
}

@test "trees that are none, or say too little, are refused and nothing is written" {
  arm_machine
  p -q record 0x40001000
  local tree=$BATS_TEST_TMPDIR/in.dtb out=$BATS_TEST_TMPDIR/out.dtb
  echo text > "$tree"
  ends 65 p emit devicetree --dtb "$tree" -o "$out"
  says "$stderr" "in.dtb: is no flattened device tree"
  tree_of "" | head -c 100 > "$tree"
  ends 65 p emit devicetree --dtb "$tree" -o "$out"
  says "$stderr" "says at offset 4"
  tree_of "" | dtc -q -I dtb -O dts - | sed '/memory@/,/};/d' | dtc -q -I dts -O dtb - > "$tree"
  ends 69 p emit devicetree --dtb "$tree" -o "$out"
  tree_of "cpus { };" | dtc -q -I dtb -O dts - | sed '/memory@/,/};/d' |
    dtc -q -I dts -O dtb - > "$tree"
  ends 65 p emit devicetree --dtb "$tree" -o "$out"
  says "$stderr" "has no /memory"
  ends 66 p emit devicetree --dtb "$BATS_TEST_TMPDIR/none" -o "$out"
  ends 65 p emit devicetree --dtb "$BATS_TEST_TMPDIR" -o "$out"
  mkfifo "$BATS_TEST_TMPDIR/pipe"
  ends 65 p emit devicetree --dtb "$BATS_TEST_TMPDIR/pipe" -o "$out"
  [ ! -e "$out" ]
}

@test "a tree is no text, and its options are for it alone" {
  arm_machine
  p -q record 0x40001000
  ends 64 p emit devicetree
  says "$stderr" "-o FILE is needed"
  ends 64 p emit offline --overlay
  ends 64 p emit initrd --dtb "$MACHINE/sys/firmware/fdt" -o "$BATS_TEST_TMPDIR/out"
  rm "$MACHINE/sys/firmware/fdt"
  ends 69 p emit devicetree -o "$BATS_TEST_TMPDIR/out"
  says "$stderr" "sys/firmware/fdt is not there"
}
