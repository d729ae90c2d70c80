#!/usr/bin/env bash
# Builds the Debian packages of the commit that is checked out.
#
#   packaging/build-deb.sh [--output DIR] [--jobs N]
#
#   --output DIR    where the packages go (default: build/packages)
#   --jobs N        how much to compile at a time (default: one job for each processor)
#
# What is not committed is left out; dates in the packages are the commit's. Needs the packages of the groups build and package of
# packaging/dependencies/debian.txt. Exit status: 0 built, 64 wrong usage, 65 the sources are not as expected,
# else that of the step that failed.
set -euo pipefail

# shellcheck source=packaging/checkout.sh
. "$(dirname "${BASH_SOURCE[0]}")/checkout.sh"
packaging_options "$@"
unpack_commit

cp -r "$tree/packaging/debian" "$tree/debian"
recorded=$(dpkg-parsechangelog -l "$tree/debian/changelog" -S Version)
[[ $recorded == "$version" ]] ||
  fail $exit_data "packaging/debian/changelog is of version $recorded, CMakeLists.txt of $version; make them the same"

cd "$tree"
# The keys of others are not asked for; dependencies are looked at.
DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS:+$DEB_BUILD_OPTIONS }parallel=$jobs" dpkg-buildpackage --build=binary --no-sign
cp ../*.deb ../*.buildinfo ../*.changes "$output/"
echo "packaging/build-deb.sh: $(cd "$output" && echo *.deb), in $output"
