#!/bin/sh
# The guest's end of the control channel: says hello on the second serial port and then runs what the
# host asks for. The other end is class Guest in rig.py, which describes the protocol. guest-init.sh
# becomes this; in a guest with an operating system it is a service. Needs busybox's shell.

boot=0
read -r command_line </proc/cmdline
for word in $command_line; do
  case $word in rig.boot=*) boot=${word#rig.boot=} ;; esac
done

exec 3<>/dev/ttyS1 # without it the shell ends here, and the host shows the console
stty raw -echo 115200 <&3
echo >&3 # UEFI firmware shows its console on every serial port, and ends no line
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
  read -r verb id command_length command input_length input <&3 || break
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
