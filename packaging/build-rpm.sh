#!/usr/bin/env bash
# Builds the rpm packages of the commit that is checked out, on a distribution with rpm or on Debian.
#
#   packaging/build-rpm.sh [--output DIR] [--jobs N]
#
#   --output DIR    where the packages go (default: build/packages)
#   --jobs N        how much to compile at a time (default: one job for each processor)
#
# What is not committed is left out. Needs the packages of the groups build and package of
# packaging/dependencies. Exit status: 0 built, 64 wrong usage, 65 the sources are not as expected, else that of the
# step that failed.
set -euo pipefail

# shellcheck source=packaging/checkout.sh
. "$(dirname "${BASH_SOURCE[0]}")/checkout.sh"
packaging_options "$@"
unpack_commit

schema=$(sed -n 's/.*kSchemaVersion = \([0-9]*\);.*/\1/p' "$tree/registry/store_schema.h")
[[ -n $schema ]] || fail $exit_data "registry/store_schema.h: expected 'kSchemaVersion = NUMBER;'"

# Built where build-deb.sh builds: a compiler cache that makes paths relative then finds what that has compiled.
mkdir -p "$work/rpm/SOURCES"
cp "$tree/packaging/rpm/poisonctl.spec" "$work/rpm/"
options=()
if ! rpm -q rpm >/dev/null 2>&1; then
  # rpm knows none of this system's packages, and has none of the flags that its distribution builds with. Those take
  # the name of the folder out of what is built there.
  options+=(--nodeps)
  if command -v dpkg-buildflags >/dev/null; then
    cd "$tree"
    export DEB_BUILD_MAINT_OPTIONS=hardening=+all
    CFLAGS="$(dpkg-buildflags --get CFLAGS) $(dpkg-buildflags --get CPPFLAGS)"
    CXXFLAGS="$(dpkg-buildflags --get CXXFLAGS) $(dpkg-buildflags --get CPPFLAGS)"
    LDFLAGS=$(dpkg-buildflags --get LDFLAGS)
    export CFLAGS CXXFLAGS LDFLAGS
    cd "$work"
  fi
fi

tar -C "$work" -czf "$work/rpm/SOURCES/poisonctl-$version.tar.gz" "poisonctl-$version"
rpmbuild -bb "${options[@]}" --define "_topdir $work/rpm" --define "_builddir $work" --define "version $version" --define "schema $schema" \
  --define "_smp_mflags -j$jobs" --define "_buildhost localhost" --define "clamp_mtime_to_source_date_epoch 1" \
  --define "use_source_date_epoch_as_buildtime 1" "$work/rpm/poisonctl.spec"
cp "$work"/rpm/RPMS/*/*.rpm "$output/"
echo "packaging/build-rpm.sh: $(cd "$output" && echo *.rpm), in $output"
