#!/usr/bin/env bash
# Shows what poisonctl does, with real output: on this machine, and on an emulated one whose memory
# fails.
#
#   ./demo.sh
#
# Installs what is missing, builds, and fetches a kernel for the emulated machine; the story itself
# takes less than a minute. This machine's own registry is neither read nor written.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
if (($# > 0)); then
  echo "demo.sh: expected no arguments, got '$1'; usage: ./demo.sh" >&2
  exit 64
fi
export PYTHONDONTWRITEBYTECODE=1

bold='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  bold=$'\e[1m' plain=$'\e[0m'
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/poisonctl-demo.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

say() {
  printf '\n%s# %s%s\n' "$bold" "$*" "$plain"
}

# quietly WHAT COMMAND...: its output only if it fails.
quietly() {
  local what=$1
  shift
  printf '%s ... ' "$what"
  if ! "$@" >"$scratch/log" 2>&1; then
    printf 'failed\n'
    cat "$scratch/log"
    printf 'demo.sh: %s failed; to run it alone: %s\n' "$what" "$*" >&2
    exit 1
  fi
  printf 'done\n'
}

# Prints a command as one types it, then runs it. Status 1 is an answer too (findings, refusals).
typed() {
  local status=0 word line=${as_root:+ sudo}
  for word in "$@"; do
    [[ $word == *' '* ]] && word="'$word'"
    line+=" $word"
  done
  printf '$%s\n' "$line"
  "${as_root[@]}" "$@" || status=$?
  if ((status > 1)); then
    printf 'demo.sh: the command above ended with status %d\n' "$status" >&2
    exit 1
  fi
}

# The middle of the largest piece of RAM, for an example that this machine could have.
example_frame() {
  local line first last size largest=0 frame=0
  while read -r line; do
    [[ $line =~ ^([0-9a-f]+)-([0-9a-f]+)\ :\ System\ RAM$ ]] || continue
    first=$((16#${BASH_REMATCH[1]})) last=$((16#${BASH_REMATCH[2]}))
    size=$((last - first))
    if ((size > largest)); then
      largest=$size
      frame=$(((first + size / 2) & ~0xffff))
    fi
  done < <("${as_root[@]}" grep '^[0-9a-f]*-[0-9a-f]* : System RAM$' /proc/iomem)
  printf '%#x' "$frame"
}

packaging/dependencies/install.sh build qemu
# The tests need more packages than the demo: a tree that has them keeps them, a new one has none.
options=()
[[ -f build/release/build.ninja ]] || options=(-DBUILD_TESTING=OFF)
quietly "Configuring" cmake --preset release "${options[@]}"
quietly "Building" cmake --build --preset release --target poisonctl -j "$(nproc)"
quietly "Fetching a kernel" python3 tests/qemu/fetch-kernels.py debian12 kexec-tools

export PATH="$PWD/build/release/cli:$PATH"

this_machine() {
  say "1. This machine: how things stand, and what could keep frames out of use here"
  typed poisonctl status
  typed grep 'System RAM' /proc/iomem
  typed poisonctl backends

  say "2. An example on this machine: a registry of our own in a temporary folder, with two frames that" \
    "nothing is wrong with"
  local registry=$scratch/example.db
  typed poisonctl --registry "$registry" record "$(example_frame)+8K" --source example
  typed poisonctl --registry "$registry" plan
  echo "(Planned only. Nothing was changed; the example is gone when the demo ends.)"
}

# Where physical memory is, only root gets to see.
as_root=()
if ((EUID != 0)); then
  as_root=(sudo env "PATH=$PATH")
fi
if ((EUID == 0)) || { command -v sudo >/dev/null && sudo -v; }; then
  this_machine
else
  say "1 and 2 are about this machine's memory, which takes root or sudo to see: left out"
fi

python3 tests/qemu/demo.py --poisonctl build/release/cli/poisonctl
