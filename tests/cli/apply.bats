#!/usr/bin/env bats
# poisonctl apply: what it changes, that it changes nothing else, and that --undo leaves no trace.

load helpers

OPTION=memmap=0x1000%0x3400000-1+5
DROP_IN=etc/default/grub.d/zz-poisonctl.cfg

# A machine with every kind of boot configuration.
make_boot() {
  mkdir -p "$MACHINE"/etc/default/{grub.d,kexec.d} "$MACHINE/etc/kernel" \
    "$MACHINE/boot/loader/entries"
  printf 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX="console=ttyS0"\n' > "$MACHINE/etc/default/grub"
  printf 'root=/dev/sda1 ro  quiet\n' > "$MACHINE/etc/kernel/cmdline"
  printf 'title A\nversion 6.1\nlinux /vmlinuz\noptions root=/dev/sda1 ro\ninitrd /i\n' \
    > "$MACHINE/boot/loader/entries/a.conf"
  printf 'title B\noptions a="b  c"\noptions\troot=/dev/sda1 -- single' \
    > "$MACHINE/boot/loader/entries/b.conf"
  printf 'title C\nlinux /vmlinuz' > "$MACHINE/boot/loader/entries/c.conf"
  chmod 600 "$MACHINE/boot/loader/entries/a.conf"
}

# Every file of the machine with its mode and content.
all_files() { (cd "$MACHINE" && find . -type f -printf '%p %m ' -exec sha256sum {} \; | sort); }

@test "apply writes each file once, and --undo leaves every byte as it was" {
  make_boot
  p -q record 0x3400000
  all_files > "$BATS_TEST_TMPDIR/before"
  ends 0 p apply e820
  says "$output" "write grub: $MACHINE/$DROP_IN" "write kernel-install: $MACHINE/etc/kernel/cmdline" \
    "write loader-entries: $MACHINE/boot/loader/entries/a.conf" "entries/c.conf" "write kexec: "
  says "$stderr" "run update-grub" "KASLR"
  same "$(cat "$MACHINE/etc/kernel/cmdline")" "root=/dev/sda1 ro  quiet $OPTION"
  same "$(grep ^options "$MACHINE/boot/loader/entries/a.conf")" "options root=/dev/sda1 ro $OPTION"
  same "$(stat -c %a "$MACHINE/boot/loader/entries/a.conf")" 600
  same "$(tail -n 1 "$MACHINE/boot/loader/entries/b.conf")" \
    "$(printf 'options\troot=/dev/sda1 %s -- single' "$OPTION")"
  same "$(cat "$MACHINE/boot/loader/entries/c.conf")" \
    "$(printf 'title C\nlinux /vmlinuz\noptions %s' "$OPTION")"
  all_files > "$BATS_TEST_TMPDIR/after"
  ends 0 p apply e820
  same "$output" "nothing to change"
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/after")"
  ends 0 p apply e820 --undo
  says "$output" "remove grub: " "remove kexec: "
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
  ends 0 p apply e820 --undo
  same "$output" "nothing to change"
}

@test "apply e820 leaves entries that take no command line as they are, and says so" {
  make_boot
  printf 'title U\nuki /EFI/Linux/l.efi\n' > "$MACHINE/boot/loader/entries/u.conf"
  printf 'title W\nefi /EFI/Microsoft/Boot/bootmgfw.efi\n' > "$MACHINE/boot/loader/entries/w.conf"
  cp -r "$MACHINE/boot/loader/entries" "$BATS_TEST_TMPDIR/entries"
  p -q record 0x3400000
  ends 0 p apply e820
  says "$stderr" "entries/u.conf has neither 'linux' nor 'options'" "entries/w.conf has neither"
  cmp "$MACHINE/boot/loader/entries/u.conf" "$BATS_TEST_TMPDIR/entries/u.conf"
  cmp "$MACHINE/boot/loader/entries/w.conf" "$BATS_TEST_TMPDIR/entries/w.conf"
  ends 0 p apply e820 --undo
  diff -r "$MACHINE/boot/loader/entries" "$BATS_TEST_TMPDIR/entries"
}

@test "a longer list takes the place of the older option, and an empty one takes it out" {
  make_boot
  p -q record 0x3400000
  all_files > "$BATS_TEST_TMPDIR/before"
  p -q apply e820
  p -q record 0x3800000
  ends 0 p apply e820
  same "$(cat "$MACHINE/etc/kernel/cmdline")" \
    "root=/dev/sda1 ro  quiet $OPTION,0x1000%0x3800000-1+5"
  same "$(grep -o "memmap=.*" "$MACHINE/$DROP_IN")" "$OPTION,0x1000%0x3800000-1+5\""
  p -q resolve 0x3400000 0x3800000 --as replaced --reason "new DIMM"
  ends 0 p apply e820
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
}

@test "--dry-run and --only change no more than they say" {
  make_boot
  p -q record 0x3400000
  all_files > "$BATS_TEST_TMPDIR/before"
  ends 0 p apply e820 --dry-run
  says "$output" "would write grub: " "would write kernel-install: "
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
  ends 0 p apply e820 --only kernel-install
  same "$output" "write kernel-install: $MACHINE/etc/kernel/cmdline"
  ends 64 p apply e820 --only lilo
  ends 64 p apply offline
  ends 64 p apply
}

@test "the drop-in gives the kernel what emit prints, through the shell" {
  make_boot
  p -q record 0x3400000 0x3800000+8K
  p -q apply e820
  # shellcheck disable=SC1090,SC1091 # what grub-mkconfig does
  (
    set -eu
    . "$MACHINE/etc/default/grub"
    for file in "$MACHINE"/etc/default/grub.d/*.cfg; do . "$file"; done
    same "$GRUB_CMDLINE_LINUX" "console=ttyS0 $(p emit e820)"
  )
}

@test "the kexec drop-in asks for the list when it is read" {
  make_boot
  p -q record 0x3400000
  p -q apply e820
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\nexec "%s" --sysroot "%s" --registry "%s" "$@"\n' \
    "$POISONCTL" "$MACHINE" "$REGISTRY" > "$BATS_TEST_TMPDIR/bin/poisonctl"
  chmod +x "$BATS_TEST_TMPDIR/bin/poisonctl"
  same "$(run-parts --list "$MACHINE/etc/default/kexec.d")" \
    "$MACHINE/etc/default/kexec.d/zz-poisonctl"
  p -q record 0x3800000
  # shellcheck disable=SC2016 # the inner shell expands
  same "$(PATH="$BATS_TEST_TMPDIR/bin:$PATH" APPEND="root=/dev/sda1 $OPTION" \
    sh -ec '. "$1"; echo "$APPEND"' - "$MACHINE/etc/default/kexec.d/zz-poisonctl")" \
    "root=/dev/sda1 $OPTION,0x1000%0x3800000-1+5"
}

@test "a drop-in that somebody has edited is left alone until --force" {
  make_boot
  p -q record 0x3400000
  p -q apply e820
  echo "# mine" >> "$MACHINE/$DROP_IN"
  all_files > "$BATS_TEST_TMPDIR/edited"
  p -q record 0x3800000
  ends 77 p apply e820
  says "$stderr" "$DROP_IN: somebody has edited it" "--force"
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/edited")"
  ends 77 p apply e820 --undo
  ends 0 p apply e820 --force
  same "$(tail -n 1 "$MACHINE/$DROP_IN")" \
    "GRUB_CMDLINE_LINUX=\"\$GRUB_CMDLINE_LINUX $OPTION,0x1000%0x3800000-1+5\""
}

@test "what would void the option is refused before anything is written" {
  make_boot
  p -q record 0x3400000
  echo 'GRUB_CMDLINE_LINUX_DEFAULT="memmap=exactmap memmap=1G@0"' >> "$MACHINE/etc/default/grub"
  all_files > "$BATS_TEST_TMPDIR/before"
  ends 77 p apply e820
  says "$stderr" "etc/default/grub:3: memmap=exactmap"
  sed -i 3d "$MACHINE/etc/default/grub"
  echo 'root="/dev/sda1 ro' > "$MACHINE/etc/kernel/cmdline"
  ends 65 p apply e820
  says "$stderr" "etc/kernel/cmdline, byte 5: a double quote without an end"
  [ ! -e "$MACHINE/$DROP_IN" ]
}

@test "a link in place of a file is not followed" {
  make_boot
  p -q record 0x3400000
  echo "root=/dev/sda1" > "$BATS_TEST_TMPDIR/elsewhere"
  ln -sf "$BATS_TEST_TMPDIR/elsewhere" "$MACHINE/etc/kernel/cmdline"
  ends 65 p apply e820
  says "$stderr" "etc/kernel/cmdline: expected a plain file"
  same "$(cat "$BATS_TEST_TMPDIR/elsewhere")" "root=/dev/sda1"
}

@test "a folder that cannot be written to is named, and so is what was changed before" {
  make_boot
  p -q record 0x3400000
  open_to_all
  chmod -R a+rwX "$MACHINE/etc/default"
  chmod 644 "$MACHINE/boot/loader/entries/a.conf"
  chmod -R a+rX "$REGISTRY" "$MACHINE"
  : > "$REGISTRY.apply.lock"
  chmod 666 "$REGISTRY.apply.lock"
  all_files | grep -v grub.d > "$BATS_TEST_TMPDIR/before"
  ends 73 as_user "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" apply e820
  says "$stderr" "cannot write $MACHINE/etc/kernel/cmdline: Permission denied" \
    "changed before this: 1 of 6 files"
  same "$(all_files | grep -v grub.d)" "$(cat "$BATS_TEST_TMPDIR/before")"
}

@test "a full disk leaves every file as it was" {
  make_boot
  p -q record 0x3400000
  all_files > "$BATS_TEST_TMPDIR/before"
  # Through a pipe, since a file can take no message either. SC2016: the inner shell expands.
  # shellcheck disable=SC2016
  ends 73 bash -c '(trap "" XFSZ; ulimit -f 0; exec "$@") 2>&1 | cat; exit "${PIPESTATUS[0]}"' - \
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" apply e820
  says "$output" "cannot write $MACHINE/$DROP_IN" "the file is as it was"
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
}

@test "a machine without any boot configuration is told so" {
  p -q record 0x3400000
  ends 69 p apply e820
  says "$stderr" "no boot configuration that poisonctl knows"
  mkdir -p "$MACHINE/etc/default/grub.d" # GRUB's own settings are missing
  ends 69 p apply e820
}

@test "the longest command line decides how much fits everywhere, and the rest is refused" {
  make_boot
  printf 'options %s\n' "$(printf 'x%.0s' $(seq 1880))" > "$MACHINE/boot/loader/entries/long.conf"
  p -q record 0x3400000 0x3800000
  ends 1 p apply e820
  says "$stderr" "0x3800000-0x3800fff is not covered: it" "the kernel command line is full"
  same "$(cat "$MACHINE/etc/kernel/cmdline")" "root=/dev/sda1 ro  quiet $OPTION"
}

@test "kdump with a command line of its own is told of" {
  make_boot
  p -q record 0x3400000
  echo 'KDUMP_CMDLINE="root=/dev/sda1"' > "$MACHINE/etc/default/kdump-tools"
  ends 0 p apply e820
  says "$stderr" "etc/default/kdump-tools sets KDUMP_CMDLINE="
}

# What the administrator wants, in this file of the configuration.
configure() {
  mkdir -p "$MACHINE/etc/poisonctl/poisonctl.conf.d"
  printf '%s\n' "${@:2}" > "$MACHINE/etc/poisonctl/$1"
}

@test "without a name, what the configuration names is applied" {
  make_boot
  p -q record 0x3400000
  ends 64 p apply
  says "$stderr" "e820, reserve-mem or bmc" "poisonctl.conf, [watch] refresh"
  configure poisonctl.conf "# ours" "[watch]" "refresh = e820"
  ends 0 p apply
  says "$output" "write grub: $MACHINE/$DROP_IN"
  ends 0 p apply
  same "$output" "nothing to change"
  ends 64 p apply --undo
  # A later file takes the place of an earlier one.
  configure poisonctl.conf.d/50.conf "[watch]" "refresh ="
  ends 64 p apply
  # A captured machine has no kernel to write to; the other one is applied all the same.
  configure poisonctl.conf.d/60.conf "[watch]" "refresh = reserve-mem, e820"
  p -q record 0x3800000
  ends 69 p apply
  says "$stderr" "reserve-mem: "
  says "$output" "write grub: "
}

@test "a configuration that is not understood changes nothing, and says where" {
  make_boot
  p -q record 0x3400000
  all_files > "$BATS_TEST_TMPDIR/before"
  for line in "refresh = e821" "refesh = e820" "refresh e820" "refresh = kho"; do
    configure poisonctl.conf "[watch]" "$line"
    all_files > "$BATS_TEST_TMPDIR/before"
    ends 65 p apply
    says "$stderr" "/etc/poisonctl/poisonctl.conf: " "refresh"
    ends 65 p apply e820
    same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
  done
  configure poisonctl.conf "[list]" "bounds = frames=0,frames=1"
  ends 65 p apply e820
  says "$stderr" "poisonctl.conf: line 2: [list] bounds: 'frames=1'"
}

@test "the bounds of the configuration hold, and those of an option take their place" {
  p -q record 0x3400000 0x3800000
  configure poisonctl.conf "[list]" "bounds = frames=1"
  ends 1 p plan e820
  says "$output" "REFUSED  0x3800000-0x3800fff"
  ends 0 p plan e820 --bounds frames=2
}

@test "reserve-mem is written to a device of this machine alone" {
  p -q record 0x3400000
  ends 69 p apply reserve-mem
  says "$stderr" "reserve-mem: "
  ends 64 p apply reserve-mem --undo
}

# OPTION...: a menu as update-grub makes it, with these words for our system.
make_menu() {
  mkdir -p "$MACHINE/boot/grub"
  printf '%s\n' '### BEGIN /etc/grub.d/10_linux ###' "menuentry 'Debian' {" \
    $'\t'"linux /boot/vmlinuz root=/dev/sda1 ro $1" '}' '### END /etc/grub.d/10_linux ###' \
    '### BEGIN /etc/grub.d/30_os-prober ###' $'\t'"linux /vmlinuz root=/dev/sdb1" \
    '### END /etc/grub.d/30_os-prober ###' > "$MACHINE/boot/grub/grub.cfg"
}

@test "a menu of GRUB that does not have what the drop-in has is told of until it does" {
  make_boot
  make_menu
  p -q record 0x3400000
  ends 0 p apply e820 --only grub
  says "$stderr" "run update-grub"
  # As after an update-grub that failed, or never ran.
  ends 0 p apply e820 --only grub
  same "$output" "nothing to change"
  says "$stderr" "run update-grub"
  ends 0 p apply e820 --only kernel-install
  [[ "$stderr" != *update-grub* ]]
  make_menu "$OPTION"
  ends 0 p apply e820 --only grub
  same "$output" "nothing to change"
  [[ "$stderr" != *update-grub* ]]
  ends 0 p apply e820 --only grub --undo
  says "$stderr" "run update-grub"
  ends 0 p apply e820 --only grub --undo
  says "$stderr" "run update-grub"
}

@test "the option fits into the menu of GRUB, and a line that is long for its older option crowds out nothing" {
  make_boot
  make_menu "$(printf 'x%.0s' $(seq 500))"
  rm -r "$MACHINE/boot/loader/entries"
  for address in $(seq $((0x3400000)) 8192 $((0x3432000))); do printf '0x%x\n' "$address"; done |
    xargs "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" -q record
  ends 0 p apply e820
  mkdir -p "$MACHINE/boot/loader/entries"
  printf 'options %s\n' "$(printf 'x%.0s' $(seq 1880))" > "$MACHINE/boot/loader/entries/long.conf"
  ends 1 p apply e820
  says "$stderr" "the kernel command line is full"
  local line
  while read -r line; do
    [ "${#line}" -le 2047 ] || return 1
  done < "$MACHINE/boot/loader/entries/long.conf"
  make_menu "$(printf 'x%.0s' $(seq 1960))"
  all_files > "$BATS_TEST_TMPDIR/before"
  ends 77 p apply e820
  says "$stderr" "nothing of the list is covered" "--undo"
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
}

@test "a list past the hard limit takes no older protection away" {
  make_boot
  p -q record 0x3400000
  p -q apply e820
  all_files > "$BATS_TEST_TMPDIR/before"
  p -q record 0x3500000+5M
  ends 77 p apply e820 --bounds hard-per-mille=10
  says "$stderr" "is taken for an attack or a mistake" "what the boot files keep out now stays"
  same "$(all_files)" "$(cat "$BATS_TEST_TMPDIR/before")"
  ends 0 p apply e820 --undo
  [ ! -e "$MACHINE/$DROP_IN" ]
  # With nothing to lose it is no refusal.
  ends 1 p apply e820 --bounds hard-per-mille=10
}

@test "of two that apply, the second waits for the first" {
  make_boot
  p -q record 0x3400000
  exec 9> "$REGISTRY.apply.lock"
  flock 9
  p apply e820 > "$BATS_TEST_TMPDIR/out" 2>&1 9>&- &
  local job=$!
  for ((i = 0; i < 300; ++i)); do
    grep -q "waiting for another" "$BATS_TEST_TMPDIR/out" && break
    sleep 0.1
  done
  says "$(cat "$BATS_TEST_TMPDIR/out")" "$REGISTRY.apply.lock: waiting for another 'poisonctl apply'"
  [ ! -e "$MACHINE/$DROP_IN" ]
  ends 0 p apply e820 --dry-run
  p -q record 0x3800000
  exec 9>&-
  wait "$job"
  # What came while it waited is in.
  same "$(grep -o "memmap=.*" "$MACHINE/$DROP_IN")" "$OPTION,0x1000%0x3800000-1+5\""
}
