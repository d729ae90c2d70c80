#!/bin/sh
# First process of a test guest: sets the system up and becomes the other end of the control channel. It
# runs under busybox; after a kexec it starts anew in the next kernel.

export PATH=/bin:/usr/sbin HOME=/ LD_LIBRARY_PATH=/lib
/bin/busybox mkdir -p /proc /sys /dev /run /tmp /disk
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tmpfs tmpfs /run

# What a distribution's initramfs would run now.
if [ -x /scripts/init-top/poisonctl ]; then
  /scripts/init-top/poisonctl >/run/replay.out 2>&1
fi

# The console is on the host's screen when a test fails; the host sees QEMU end and shows it.
fail() {
  echo "guest-init: $*" >/dev/console
  sync
  poweroff -f
}

while read -r module; do
  insmod "/modules/$module" || fail "insmod $module failed: does it belong to $(uname -r)?"
done </modules/load-order

if [ -b /dev/vda ]; then
  mount -t ext4 /dev/vda /disk || fail "cannot mount the disk image /dev/vda as ext4"
fi

# shellcheck source=tests/qemu/guest-control.sh
. /guest-control.sh
fail "the control port is gone"
