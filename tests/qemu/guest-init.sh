#!/bin/sh
# First process of a test guest: sets the system up, says hello on the control port (the second
# serial port) and then runs what the host asks for. The other end is class Guest in rig.py, which
# describes the protocol. It runs under busybox; after a kexec it starts anew in the next kernel.

export PATH=/bin HOME=/ LD_LIBRARY_PATH=/lib
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

boot=0
read -r command_line </proc/cmdline
for word in $command_line; do
  case $word in rig.boot=*) boot=${word#rig.boot=} ;; esac
done

exec 3<>/dev/ttyS1 || fail "no second serial port"
stty raw -echo 115200 <&3
echo "hello $boot $(uname -r) $(cat /proc/sys/kernel/random/boot_id)" >&3

# decode LENGTH BASE64: to stdout; fails when characters were lost on the way. An empty text is "-".
decode() {
  [ "${#2}" = "$1" ] || return 1
  [ "$2" = - ] || echo "$2" | base64 -d
}

# Starting a program costs milliseconds under emulation, so this loop uses builtins where it can.
# A background process of an earlier command that ends just now sends SIGCHLD, and busybox's read
# begins again without what it has read of the line (shell/ash.c, readcmd): then we ask for the line
# once more. What was done is not done twice.
last=
while true; do
  read -r verb id command_length command input_length input <&3 || fail "the control port is gone"
  if [ "$verb" != run ]; then
    echo again >&3
    continue
  fi
  [ "$id" != "$last" ] || continue
  last=$id
  if decode "$command_length" "$command" >/run/command &&
    decode "$input_length" "$input" >/run/input; then
    # 3>&-: what the command starts must not hold the control port.
    sh /run/command </run/input >/run/stdout 2>/run/stderr 3>&-
    status=$?
  else
    : >/run/stdout
    : >/run/stderr
    status=garbled
  fi
  {
    echo "reply $id $status"
    if [ -s /run/stdout ]; then base64 /run/stdout; fi
    echo "stderr $id"
    if [ -s /run/stderr ]; then base64 /run/stderr; fi
    echo "end $id"
  } >&3
done
