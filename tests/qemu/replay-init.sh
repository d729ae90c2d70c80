#!/bin/sh
# First process of a guest without control port (arm64) that has a list of bad frames: replays it as a
# distribution's initramfs would, says on the console what became of it, and powers off. What it says is
# files, packed; scenarios/replay_arm64.py unpacks them.

export PATH=/bin:/usr/sbin LD_LIBRARY_PATH=/lib
/bin/busybox mkdir -p /proc /sys /dev /run
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
/scripts/init-top/poisonctl >/run/replay.out 2>&1
# A message of the kernel would tear what follows.
dmesg -n 1

send() {
  [ -f "$1" ] || return
  echo "FILE $1"
  gzip -1 <"$1" | base64
  echo "END"
}

echo "REPORT BEGIN"
send /run/replay.out
send /run/poisonctl/replay.json
for file in iomem kpageflags meminfo cmdline self/auxv sys/kernel/arch sys/kernel/osrelease \
  sys/kernel/random/boot_id sys/vm/memory_failure_recovery; do
  send /proc/$file
done
send /sys/firmware/fdt
send /sys/devices/system/memory/block_size_bytes
for file in /sys/devices/system/memory/memory*/state; do
  send "$file"
done
for block in /sys/devices/system/node/node*/memory[0-9]*; do
  echo "BLOCK $block"
done
# shellcheck disable=SC2046  # a word for each frame
alloc_sweep $(cat /sweep) >/run/sweep.json 2>&1
send /run/sweep.json
echo "REPORT END"
poweroff -f
