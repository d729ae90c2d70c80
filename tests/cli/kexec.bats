#!/usr/bin/env bats
# poisonctl kexec, as far as it goes without loading anything: a captured machine is refused last.

load helpers

loads() { p kexec --kernel "$BATS_TEST_TMPDIR/vmlinuz" "$@"; }

@test "kexec wants a kernel and a command line" {
  p -q record 0x3400000
  ends 64 p kexec
  says "$stderr" "--kernel FILE is needed"
  ends 64 loads
  says "$stderr" "--append TEXT or --reuse-cmdline"
  ends 64 p kexec vmlinuz
}

@test "files that cannot be loaded are named" {
  p -q record 0x3400000
  ends 66 loads --append quiet
  says "$stderr" "vmlinuz"
  echo kernel > "$BATS_TEST_TMPDIR/vmlinuz"
  ends 66 loads --append quiet --initrd "$BATS_TEST_TMPDIR/none"
  ends 65 loads --append quiet --initrd "$BATS_TEST_TMPDIR"
  says "$stderr" "is no regular file"
}

@test "a captured machine loads nothing" {
  p -q record 0x3400000
  echo kernel > "$BATS_TEST_TMPDIR/vmlinuz"
  ends 64 loads --reuse-cmdline --initrd "$BATS_TEST_TMPDIR/vmlinuz"
  says "$stderr" "loads into this machine"
}

@test "frames that would stay in use are a reason to refuse, except by force" {
  echo kernel > "$BATS_TEST_TMPDIR/vmlinuz"
  # More than a command line has room for.
  # shellcheck disable=SC2046 # words are wanted
  p -q record $(for i in $(seq 200); do printf '0x%x ' $((0x2400000 + i * 8192)); done)
  ends 77 loads --append quiet
  says "$stderr" "would stay in use in the next kernel" "poisonctl plan e820" "--force"
  ends 64 loads --append quiet --force
  says "$stderr" "warning: " "would stay in use"
  # What is past a bound is not on the list, and would be in use as well.
  ends 77 loads --append quiet --bounds frames=1
}

@test "without memmap= only what this kernel leaves out stays out" {
  echo kernel > "$BATS_TEST_TMPDIR/vmlinuz"
  rm -r "$MACHINE/sys/firmware"
  p -q record 0x3400000
  ends 77 loads --append quiet
  says "$stderr" "kexec -c --dtb" "poisonctl emit devicetree"
  sed -i 's/^00100000-03ffffff : System RAM/00100000-033fffff : System RAM\n03400000-03400fff : reserved\n03401000-03ffffff : System RAM/' \
    "$MACHINE/proc/iomem"
  ends 64 loads --append quiet
  says "$stderr" "loads into this machine"
}
