#!/usr/bin/env bats
# The life of the Debian packages on a Debian 12, or on the system that POISONCTL_TEST_SYSTEM names: installed, used, upgraded, not downgraded, removed, purged.

load helpers

setup_file() {
  make_root
  mkdir "$ROOT/packages"
  cp "$PACKAGES"/*.deb "$ROOT/packages/"
  make_previous
}

# The package as a version before would be: of schema 2, and of a lower number.
make_previous() {
  local tree=$BATS_FILE_TMPDIR/previous
  dpkg-deb --raw-extract "$ROOT"/packages/poisonctl_*.deb "$tree"
  sed -i 's/^Version: .*/Version: 0.0.9/' "$tree/DEBIAN/control"
  sed -i 's/^\( *known=\)3$/\12/' "$tree/DEBIAN/preinst"
  grep -q 'known=2$' "$tree/DEBIAN/preinst"
  dpkg-deb --build "$tree" "$ROOT/packages/previous.deb"
}

# PACKAGE...: what apt makes of local files. Without a network: what they depend on is there.
apt_install() {
  inside apt-get -q -y --no-install-recommends --allow-downgrades install "$@"
}

# PATTERN: the package of that name, where $ROOT has it.
package() { (cd "$ROOT" && find packages -name "$1" -printf '/%p'); }

# What dpkg says of a package: installed, config-files, not-installed.
state() { field db:Status-Status "$1" 2>/dev/null || echo not-installed; }

# NAME PACKAGE
field() { inside dpkg-query -W -f "\${$1}" "$2"; }

enabled() { inside systemctl is-enabled "$1" || true; }

@test "lintian finds no error" {
  # That of the system that they are for, where it has one: what is an error changes with the release.
  if [ -x "$ROOT/usr/bin/lintian" ]; then
    cp -r "$PACKAGES" "$ROOT/built"
    ends 0 inside sh -c 'exec lintian --allow-root --fail-on error /built/poisonctl_*.changes'
  else
    ends 0 lintian --allow-root --fail-on error "$PACKAGES"/poisonctl_*.changes
  fi
  same "$(grep '^E:' <<<"$output")" ""
}

@test "they are as many as they should be, and depend on libraries by their sonames" {
  local package
  for package in poisonctl_ poisonctl-initramfs_ poisonctl-dracut_ poisonctl-dbgsym_ libpoisonctl1_ libpoisonctl-dev_; do
    same "$(find "$PACKAGES" -name "$package*.deb" | wc -l)" 1
  done
  # Each library that a program loads is of a package that is named.
  dpkg-deb --extract "$PACKAGES"/poisonctl_*.deb "$BATS_TEST_TMPDIR/tree"
  local depends library
  depends=$(dpkg-deb --field "$PACKAGES"/poisonctl_*.deb Depends)
  for library in $(readelf -d "$BATS_TEST_TMPDIR"/tree/usr/sbin/* | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' |
    grep -v ^ld-linux | sort -u); do
    package=$(inside dpkg -S "*/$library" | sed -n '1s/:.*//p')
    says "$depends" "$package"
  done
  hardened_and_stripped "$BATS_TEST_TMPDIR"/tree/usr/sbin/*
}

@test "a version of before is installed; what runs is what the presets say" {
  # An administrator's preset comes before ours.
  mkdir -p "$ROOT/etc/systemd/system-preset"
  echo "disable poisonctl-replay.timer" >"$ROOT/etc/systemd/system-preset/10-site.preset"
  ends 0 apt_install /packages/previous.deb
  same "$(state poisonctl)" installed
  same "$(enabled poisonctl-watch.service)" enabled
  same "$(enabled poisonctl-replay.service)" enabled
  same "$(enabled poisonctl-replay.timer)" disabled
  same "$(enabled poisonctl-apply.path)" disabled
  same "$(enabled poisonctl-kho.service)" disabled
  same "$(enabled poisonctl-metrics.timer)" disabled
  same "$(stat -c '%a %U %G' "$ROOT/var/lib/poisonctl")" "750 root root"
  # Nothing was replayed and nothing recorded.
  [ ! -e "$ROOT/run/poisonctl" ]
  same "$(ls -A "$ROOT/var/lib/poisonctl")" ""
}

@test "an upgrade brings the registry of before to the newest schema, and keeps a copy and what was enabled" {
  cp "$HERE/../crash/registry-schema-2.db" "$REGISTRY"
  inside systemctl -q disable poisonctl-watch.service
  echo "# ours" >>"$ROOT/etc/poisonctl/poisonctl.conf"
  ends 0 apt_install "$(package "poisonctl_*")"
  same "$(schema)" 3
  diff <(sqlite3 "$REGISTRY.schema-2" .dump) <(sqlite3 "$HERE/../crash/registry-schema-2.db" .dump)
  ends 0 inside poisonctl list
  says "$output" 0x
  same "$(enabled poisonctl-watch.service)" disabled
  same "$(tail -1 "$ROOT/etc/poisonctl/poisonctl.conf")" "# ours"
}

@test "the parts for the initramfs are installed with it" {
  ends 0 apt_install "$(package "poisonctl-initramfs_*")" "$(package "poisonctl-dracut_*")"
  [ -x "$ROOT/usr/share/initramfs-tools/hooks/poisonctl" ]
  [ -x "$ROOT/usr/share/initramfs-tools/scripts/init-top/poisonctl" ]
  [ -x "$ROOT/usr/lib/dracut/modules.d/90poisonctl/module-setup.sh" ]
  same "$(inside dpkg --audit poisonctl)" ""
}

@test "first use: a frame is recorded and planned for; the manual and the completions are there" {
  ends 0 inside poisonctl record pfn:0x1 --note "memtest86+, slot A1"
  ends 0 inside poisonctl show pfn:0x1
  says "$output" "memtest86+, slot A1"
  ends 0 inside poisonctl audit verify
  ends 0 inside poisonctl config check
  says "$output" "read: /etc/poisonctl/poisonctl.conf"
  [ -s "$ROOT/usr/share/man/man8/poisonctl.8.gz" ]
  [ -s "$ROOT/usr/share/bash-completion/completions/poisonctl" ]
  [ -s "$ROOT/usr/share/zsh/vendor-completions/_poisonctl" ]
}

@test "the library is installed for programs, and the linker and pkg-config find it" {
  ends 0 apt_install "$(package "libpoisonctl1_*")" "$(package "libpoisonctl-dev_*")"
  says "$(inside ldconfig -p)" "libpoisonctl.so.1 "
  local library
  library=$(inside sh -c 'echo /usr/lib/*/libpoisonctl.so')
  same "$(readlink "$ROOT$library")" libpoisonctl.so.1
  hardened_and_stripped "$ROOT$library".1.*
  # That of ours in a prefix of its own is tests/cli/library.bats.
  says "$(cat "$ROOT${library%/*}/pkgconfig/libpoisonctl.pc")" "libdir=${library%/*}" "includedir=/usr/include"
  [ -s "$ROOT/usr/include/poisonctl/poisonctl.h" ]
  [ -s "$ROOT/usr/share/man/man3/libpoisonctl.3.gz" ]
  # What links it takes a package that has it.
  same "$(cat "$ROOT"/var/lib/dpkg/info/libpoisonctl1:*.symbols | grep -c ' poisonctl_.*@POISONCTL_1.0 ')" \
    "$(grep -c '^    poisonctl_' "$HERE/../../cli/library/libpoisonctl.map")"
  ends 0 inside apt-get -q -y purge libpoisonctl1 libpoisonctl-dev
}

@test "a downgrade to a version that does not know the schema is refused, and everything is as it was" {
  local before version
  before=$(sha256sum <"$REGISTRY")
  version=$(field Version poisonctl)
  ends 100 apt_install /packages/previous.deb
  says "$output$stderr" "is of schema version 3" "up to 2" "Nothing was changed"
  same "$(sha256sum <"$REGISTRY")" "$before"
  same "$(state poisonctl) $(field Version poisonctl)" "installed $version"
  same "$(inside dpkg --audit poisonctl)" ""
  ends 0 inside poisonctl list
}

@test "what is removed leaves the evidence, and nothing of itself that runs" {
  local before
  before=$(cd "$ROOT/var/lib/poisonctl" && sha256sum ./*)
  ends 0 inside apt-get -q -y remove poisonctl poisonctl-initramfs poisonctl-dracut
  same "$(state poisonctl)" config-files
  same "$(cd "$ROOT/var/lib/poisonctl" && sha256sum ./*)" "$before"
  [ ! -e "$ROOT/usr/sbin/poisonctl" ]
  same "$(find "$ROOT/usr" "$ROOT/lib/" -path '*poisonctl*' ! -path '*/deb-systemd*')" ""
}

@test "a purge keeps the evidence when nobody says otherwise" {
  ends 0 inside apt-get -q -y purge poisonctl
  same "$(state poisonctl)" not-installed
  same "$(schema)" 3
  [ -e "$REGISTRY.schema-2" ]
  [ ! -e "$ROOT/etc/poisonctl/poisonctl.conf" ]
  same "$(find "$ROOT/etc/systemd" -name '*poisonctl*')" ""
}

@test "what was kept is taken up by a new installation, but not by one of before" {
  ends 100 apt_install /packages/previous.deb
  says "$output$stderr" "is of schema version 3" "Nothing was changed"
  same "$(state poisonctl)" not-installed
  ends 0 apt_install "$(package "poisonctl_*")"
  ends 0 inside poisonctl show pfn:0x1
  says "$output" "memtest86+, slot A1"
}

@test "a purge deletes the evidence when that is the answer" {
  inside debconf-set-selections <<<"poisonctl poisonctl/delete_evidence boolean true"
  ends 0 inside apt-get -q -y purge poisonctl
  [ ! -e "$ROOT/var/lib/poisonctl" ]
  same "$(state poisonctl)" not-installed
}
