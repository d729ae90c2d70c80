#!/usr/bin/env bats
# The rpm packages, installed by rpm into a root of its own: files, scripts, dependencies.

load helpers

setup_file() {
  make_root
  mkdir -p "$ROOT/var/lib/rpm"
}

# The package of that name.
package() { find "$PACKAGES" -name "$1-[0-9]*.rpm" ! -name '*.src.rpm'; }

# Its libraries are those of Debian, of which rpm knows nothing: the tests below look at what it requires.
rpm_root() {
  # shellcheck disable=SC2016 # for the shell that it is given to
  unshare --mount sh -euc 'mount -t proc proc "$0/proc" && exec rpm --root "$0" --dbpath /var/lib/rpm "$@"' "$ROOT" "$@"
}

enabled() { inside systemctl is-enabled "$1" || true; }

@test "rpmlint finds no error" {
  ends 0 rpmlint --config "$HERE/rpmlint.toml" "$PACKAGES"/*.rpm
  says "$output" " 0 errors"
}

@test "they are as many as they should be, and what they require is there" {
  local name requirement what
  for name in poisonctl poisonctl-initramfs poisonctl-dracut poisonctl-libs poisonctl-devel poisonctl-debuginfo; do
    [ -f "$(package "$name")" ]
  done
  inside ldconfig -p >"$BATS_TEST_TMPDIR/libraries"
  while read -r requirement; do
    case $requirement in
      rpmlib* | rtld* | config*) ;;
      lib*'()(64bit)') grep -q "^	${requirement%%(*} " "$BATS_TEST_TMPDIR/libraries" ;;
      ld-linux* | *'('*) ;;
      /*) [ -e "$ROOT$requirement" ] ;;
      *) false ;;
    esac || {
      echo "$requirement is not there" >&2
      return 1
    }
  done < <(rpm -qp --requires "$(package poisonctl)")
  for what in libsqlite3.so.0 libcrypto.so.3 libfdt.so.1 libtracefs.so.1 libboost_program_options libfmt.so; do
    ends 0 grep "^$what" <(rpm -qp --requires "$(package poisonctl)")
  done
  ends 0 rpm -qp --requires "$(package poisonctl-initramfs)"
  says "$output" "initramfs-tools-core" "poisonctl >= "
  ends 0 rpm -qp --requires "$(package poisonctl-dracut)"
  says "$output" "dracut" "poisonctl >= "
  ends 0 rpm -qp --requires "$(package poisonctl-devel)"
  says "$output" "poisonctl-libs(x86-64) = "
  ends 0 rpm -qp --provides "$(package poisonctl-libs)"
  says "$output" "libpoisonctl.so.1(POISONCTL_1.0)(64bit)"
}

@test "a registry of a schema that it does not know keeps it from being installed" {
  mkdir -p "$(dirname "$REGISTRY")"
  cp "$HERE/../crash/registry-schema-2.db" "$REGISTRY"
  sqlite3 "$REGISTRY" 'PRAGMA user_version = 99'
  ends 1 rpm_root --install --nodeps "$(package poisonctl)"
  says "$stderr" "is of schema version 99" "Nothing was changed"
  [ ! -e "$ROOT/usr/sbin/poisonctl" ]
  ends 1 rpm_root -q poisonctl
}

@test "it is installed: files, modes, presets, and the registry of before upgraded" {
  cp "$HERE/../crash/registry-schema-2.db" "$REGISTRY"
  ends 0 rpm_root --install --nodeps "$(package poisonctl)" "$(package poisonctl-initramfs)" \
    "$(package poisonctl-dracut)" "$(package poisonctl-libs)" "$(package poisonctl-devel)"
  # Debian's rpm says that it is not for installing; systemctl tells each link.
  same "$(printf '%s\n' "$output" "$stderr" | grep -v '^rpm: \|^Created symlink \|^$')" ""
  ends 0 rpm_root --verify --nodeps poisonctl poisonctl-initramfs poisonctl-dracut poisonctl-libs poisonctl-devel
  same "$(stat -c '%a %U %G' "$ROOT/var/lib/poisonctl")" "750 root root"
  same "$(schema)" 3
  diff <(sqlite3 "$REGISTRY.schema-2" .dump) <(sqlite3 "$HERE/../crash/registry-schema-2.db" .dump)
  same "$(enabled poisonctl-watch.service)" enabled
  same "$(enabled poisonctl-replay.timer)" enabled
  same "$(enabled poisonctl-kho.service)" disabled
  same "$(enabled poisonctl-apply.path)" disabled
  [ ! -e "$ROOT/run/poisonctl" ]
  same "$(rpm_root -q --configfiles poisonctl)" /etc/poisonctl/poisonctl.conf
  # Not the library: where rpm is Debian's, it leaves the debug information in what is not executable.
  hardened_and_stripped "$ROOT/usr/sbin/poisonctl" "$ROOT/usr/sbin/poison-replay"
}

@test "first use, and what an upgrade leaves alone" {
  ends 0 inside poisonctl record pfn:0x1 --note "memtest86+, slot A1"
  inside systemctl -q disable poisonctl-watch.service
  echo "# ours" >>"$ROOT/etc/poisonctl/poisonctl.conf"
  ends 0 rpm_root --upgrade --nodeps --force "$(package poisonctl)"
  ends 0 inside poisonctl show pfn:0x1
  says "$output" "memtest86+, slot A1"
  same "$(enabled poisonctl-watch.service)" disabled
  same "$(tail -1 "$ROOT/etc/poisonctl/poisonctl.conf")" "# ours"
}

@test "what is removed leaves the evidence, and nothing of itself" {
  local before
  before=$(cd "$ROOT/var/lib/poisonctl" && sha256sum ./*)
  ends 0 rpm_root --erase poisonctl poisonctl-initramfs poisonctl-dracut poisonctl-libs poisonctl-devel
  same "$(cd "$ROOT/var/lib/poisonctl" && sha256sum ./*)" "$before"
  same "$(find "$ROOT/usr" "$ROOT/etc/systemd" -path '*poisonctl*')" ""
}
