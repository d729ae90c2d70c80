#!/bin/sh
# First process of a guest that is to start the operating system on its disk for the first time, before
# that has made an initramfs of its own. Runs under busybox.

export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
while read -r module; do
  insmod "/modules/$module"
done </modules/load-order
mount -t ext4 /dev/vda /root && exec switch_root /root /sbin/init
echo "switch-init: no operating system on /dev/vda" >/dev/console
sync
poweroff -f
