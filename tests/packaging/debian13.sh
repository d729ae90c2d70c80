#!/usr/bin/env bash
# The life of the packages on a Debian 13: builds those of the commit that is checked out in one, and runs deb.bats in another.
#
#   tests/packaging/debian13.sh [--output DIR] [--jobs N]
#
#   --output DIR    where the packages go (default: build/packages-debian13); what is there already is taken as it is
#   --jobs N        how much to compile at a time (default: one job for each processor)
#
# Run by hand, as root: everything is compiled anew, by another compiler. Both systems come from Debian's archive, once
# (tests/qemu/fetch-kernels.py). Exit status: that of the step that failed, or 0.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
output=$here/../../build/packages-debian13
jobs=$(nproc)
while (($# > 0)); do
  case $1 in
    --output) output=$2 ;;
    --jobs) jobs=$2 ;;
    *)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
      exit 64
      ;;
  esac
  shift 2
done
mkdir -p "$output"
output=$(cd "$output" && pwd)

"$here/../qemu/fetch-kernels.py" debian13-system debian13-build
if [[ -z $(find "$output" -name 'poisonctl_*.deb') ]]; then
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
  archive=$(cd "$here/../qemu" && python3 -B -c 'import kernels
print(kernels.find_system(kernels.default_cache(), "debian13-build"))')
  tar -C "$root" --exclude='./dev/*' -xf "$archive"
  mknod -m 666 "$root/dev/null" c 1 3
  git clone --quiet --no-hardlinks "$here/../.." "$root/source"
  # shellcheck disable=SC2016 # for the shell that it is given to
  unshare --mount --pid --fork sh -euc 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
    /source/packaging/build-deb.sh --output /packages --jobs "$jobs"
  cp "$root"/packages/* "$output/"
fi
PACKAGES=$output POISONCTL_TEST_SYSTEM=debian13-system bats "$here/deb.bats"
