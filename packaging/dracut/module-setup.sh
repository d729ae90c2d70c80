#!/bin/bash
# dracut module: puts into the initramfs what retires bad memory before anything else runs:
# poison-replay, the keys whose lists it believes, and the list as it is now. See dracut.modules(7).

# called by dracut
check() {
  require_binaries poison-replay poisonctl || return 1
  # A kernel that saves a crash runs in memory of its own, and for minutes.
  # shellcheck disable=SC2154 # dracut sets them
  [[ " $dracutmodules $add_dracutmodules $force_add_dracutmodules " != *\ kdump* ]]
}

# called by dracut
depends() {
  return 0
}

# called by dracut
install() {
  local status=0
  inst_binary poison-replay
  # The first hook of all: each moment lets the kernel take one more frame.
  # shellcheck disable=SC2154 # dracut sets it
  inst_hook cmdline 00 "$moddir/poison-replay.sh"

  # shellcheck disable=SC2154 # dracut sets it
  mkdir -p "$initdir/etc/poisonctl"

  # Not as /poisonctl/handover, where kexec and boot loaders put a newer one: this would replace it.
  if [[ -f /var/lib/poisonctl/registry.db ]]; then
    poisonctl -q handover make -o "$initdir/etc/poisonctl/handover" || status=$?
  fi

  # The keys that the administrator trusts, and the one that signs the lists of this machine: after the list, with
  # which it may have been made.
  {
    # Its last line may have no end.
    if [[ -f /etc/poisonctl/trusted-keys ]]; then cat /etc/poisonctl/trusted-keys; echo; fi
    if [[ -f /var/lib/poisonctl/registry.db.key ]]; then poisonctl handover key; fi
  } >"$initdir/etc/poisonctl/trusted-keys"

  # How much of a list poison-replay takes, as [list] of poisonctl.conf says.
  if ! poisonctl -q config bounds >"$initdir/etc/poisonctl/bounds"; then
    derror "poisonctl: the bounds of poisonctl.conf could not be had; see 'poisonctl config check'"
    return 1
  fi

  # Where firmware has no UUID, this tells for which machine a list is.
  if [[ -f /etc/machine-id ]]; then cp /etc/machine-id "$initdir/etc/machine-id"; fi

  # Status 1: made, and something was refused, which 'poisonctl check' tells.
  if ((status > 1)); then
    derror "poisonctl: the list of bad memory could not be made (status $status)"
    return 1
  fi
}
