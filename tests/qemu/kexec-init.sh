#!/bin/sh
# First process of a guest that starts the kernel that it carries, with kexec_load and a device tree of ours.
# That one reports (report-init.sh).

export PATH=/bin
/bin/busybox mkdir -p /proc /sys
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys

kexec -c -l /next/Image --initrd=/next/initrd --dtb=/next/tree.dtb --command-line="$(cat /proc/cmdline)" &&
  echo "KEXEC LOADED $(cat /sys/kernel/kexec_loaded)" && kexec -e
echo "KEXEC FAILED"
poweroff -f
