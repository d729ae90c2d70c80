#!/bin/sh
# dracut hook: retires the bad memory frames of the list that this initramfs, or pstore, holds. dracut
# sources it, so it never exits. The result is in /run/poisonctl/replay.json.

# Not in a kernel that saves a crash.
if [ ! -e /proc/vmcore ]; then
  # Not every kernel has it, and the initramfs may have mounted it already.
  case $([ ! -d /sys/fs/pstore ] || cat /proc/mounts) in
    "" | *" /sys/fs/pstore "*) ;;
    *) mount -t pstore pstore /sys/fs/pstore || echo "poisonctl: no list is looked for in pstore" >&2 ;;
  esac
  # From 2 on, what it said may not be all; it says itself what 1 is about.
  poison-replay || [ $? -eq 1 ] || echo "poisonctl: poison-replay failed; see poison-replay(8)" >&2
fi
