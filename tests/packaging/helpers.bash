# What the tests of packages share: an operating system in a folder, and ways to do something in it.
# setup_file of each file makes $ROOT; its tests tell one story, and each goes on where the one before ended.

load ../cli/helpers

# The other tests' machine is not needed: what is looked at is the system in $ROOT.
setup() {
  export HERE=$BATS_TEST_DIRNAME
  REGISTRY=$ROOT/var/lib/poisonctl/registry.db
}

# A Debian in $ROOT (12, unless POISONCTL_TEST_SYSTEM names another), as tests/qemu/kernels.py makes it from the archive.
# There is no daemon in it.
make_root() {
  : "${PACKAGES:?must be the folder with the packages; ctest sets it}"
  if ((EUID != 0)); then
    echo "packages are installed into a folder as root (chroot); run this test as root" >&2
    return 1
  fi
  export ROOT=$BATS_FILE_TMPDIR/root
  mkdir "$ROOT"
  # Not its device nodes, which not everybody may make; scripts need one.
  local archive
  archive=$(cd "$BATS_TEST_DIRNAME/../qemu" && python3 -B -c 'import pathlib, sys, kernels
cache = pathlib.Path(sys.argv[1]) if sys.argv[1] else kernels.default_cache()
print(kernels.find_system(cache, sys.argv[2]))' "${POISONCTL_TEST_CACHE:-}" "${POISONCTL_TEST_SYSTEM:-debian12-system}")
  tar -C "$ROOT" --exclude='./dev/*' -xf "$archive"
  mknod -m 666 "$ROOT/dev/null" c 1 3
  # The tests under QEMU do without manuals.
  rm "$ROOT/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
}

# COMMAND...: in $ROOT, with processes and mounts of its own, which end with it.
inside() {
  # shellcheck disable=SC2016 # for the shell that it is given to
  unshare --mount --pid --fork sh -euc 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$ROOT" \
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# The schema of the registry.
schema() { sqlite3 "$REGISTRY" 'PRAGMA user_version'; }

# PROGRAM...: each is position-independent, has its relocations read-only before it starts, and debug information
# of its own elsewhere.
hardened_and_stripped() {
  local program
  for program in "$@"; do
    readelf -h "$program" | grep -q 'Type: *DYN'
    readelf -d "$program" | grep -q 'BIND_NOW\|Flags:.* NOW'
    readelf -l "$program" | grep -q GNU_RELRO
    readelf -W --dyn-syms "$program" | grep -q __stack_chk_fail
    readelf -S "$program" | grep -q '\.gnu_debuglink'
    ! readelf -S "$program" | grep -q '\.debug_info' || return 1
  done
}
