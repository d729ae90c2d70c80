#!/usr/bin/env bats
# poisonctl emit initrd and reserve-mem: carriers, which keep nothing out by themselves.

load helpers

@test "cpio unpacks the archive, and the handover in it is believed" {
  p -q record 0x1800000
  ends 0 p emit initrd -o "$BATS_TEST_TMPDIR/list.cpio"
  same "$(($(stat -c %s "$BATS_TEST_TMPDIR/list.cpio") % 512))" 0
  mkdir "$BATS_TEST_TMPDIR/root"
  (cd "$BATS_TEST_TMPDIR/root" && cpio --quiet -id < ../list.cpio)
  same "$(cd "$BATS_TEST_TMPDIR/root" && find . -mindepth 1 | sort | tr '\n' ' ')" \
    "./poisonctl ./poisonctl/handover "
  ends 0 p handover check "$BATS_TEST_TMPDIR/root/poisonctl/handover"
  says "$output" "trust      accept" "to retire  4 KiB in 1 range"
  # The same registry gives the same archive.
  ends 0 p emit initrd -o "$BATS_TEST_TMPDIR/again.cpio"
  cmp "$BATS_TEST_TMPDIR/list.cpio" "$BATS_TEST_TMPDIR/again.cpio"
}

@test "other archives stand before and behind it" {
  p -q record 0x1800000
  p emit initrd -o "$BATS_TEST_TMPDIR/list.cpio"
  mkdir -p "$BATS_TEST_TMPDIR/other/etc"
  echo hello > "$BATS_TEST_TMPDIR/other/etc/file"
  (cd "$BATS_TEST_TMPDIR/other" && find . | cpio --quiet -o -H newc) > "$BATS_TEST_TMPDIR/other.cpio"
  cat "$BATS_TEST_TMPDIR/list.cpio" "$BATS_TEST_TMPDIR/other.cpio" "$BATS_TEST_TMPDIR/list.cpio" \
    > "$BATS_TEST_TMPDIR/all.cpio"
  # cpio stops at the end of each; the rest is read from where it stopped.
  mkdir "$BATS_TEST_TMPDIR/root"
  (cd "$BATS_TEST_TMPDIR/root" && { cpio --quiet -id; cpio --quiet -id; } < ../all.cpio)
  same "$(cat "$BATS_TEST_TMPDIR/root/etc/file")" hello
  [ -s "$BATS_TEST_TMPDIR/root/poisonctl/handover" ]
}

@test "a carrier is shown as one, and its archive is no text" {
  p -q record 0x1800000
  ends 0 p plan initrd
  says "$output" "initrd: carries 4 KiB in 1 range" "keeps nothing out before"
  has_shape poisonctl/plan-v1 p --json plan initrd
  same "$(json "[(b['reach'], b['artifact']) for b in it['backends']]")" "[('carries', None)]"
  ends 64 p emit initrd
  says "$stderr" "-o FILE is needed"
  # Without the key nothing can be signed, and looking makes none.
  rm "$REGISTRY.key"
  ends 69 p plan initrd
  says "$stderr" "cannot be signed"
  [ ! -e "$REGISTRY.key" ]
}

@test "reserve-mem prints one line, and says what the kernel lacks" {
  p -q record 0x1800000
  ends 69 p emit reserve-mem
  says "$stderr" "boot/config-7.2.13-test: No such file or directory, so whether"
  mkdir -p "$MACHINE/boot"
  echo CONFIG_PSTORE_RAM=y > "$MACHINE/boot/config-7.2.13-test"
  ends 69 p emit reserve-mem
  says "$stderr" "built without CONFIG_PSTORE_PMSG"
  echo CONFIG_PSTORE_PMSG=y >> "$MACHINE/boot/config-7.2.13-test"
  ends 0 p emit reserve-mem
  same "$output" "reserve_mem=0x40000:4096:poison ramoops.mem_name=poison ramoops.pmsg_size=0x40000 ramoops.record_size=0 ramoops.console_size=0 ramoops.ftrace_size=0"
  ends 0 p plan reserve-mem
  says "$output" "reserve-mem: carries 4 KiB" "has no address"
}
