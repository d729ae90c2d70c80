#!/usr/bin/env bash
# Builds the packages of the commit that is checked out twice, and says whether they are the same bytes.
#
#   packaging/reproducible.sh [deb|rpm]...
#
# The second build is in another folder, later, with another umask, locale, time zone and home, and
# compiles anew: no compiler cache is used. Exit status: 0 the same, 1 not the same (both are left to be compared, with
# diffoscope for one), else that of the build that failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
forms=("$@")
((${#forms[@]} > 0)) || forms=(deb rpm)
kept=$(mktemp -d)

# A launcher would give the second build what the first has compiled.
unset CMAKE_C_COMPILER_LAUNCHER CMAKE_CXX_COMPILER_LAUNCHER
status=0
for form in "${forms[@]}"; do
  mkdir -p "$kept/a" "$kept/another folder"
  (umask 022 && "$here/build-$form.sh" --output "$kept/a")
  sleep 2 # times are in whole seconds
  (
    umask 027
    mkdir "$kept/tmp"
    TMPDIR=$kept/tmp LC_ALL=C TZ=Pacific/Kiritimati HOME=/nonexistent "$here/build-$form.sh" \
      --output "$kept/another folder"
  )
  rmdir "$kept/tmp"
  for first in "$kept"/a/*."$form"; do
    if cmp "$first" "$kept/another folder/$(basename "$first")"; then
      echo "packaging/reproducible.sh: $(basename "$first"): the same bytes"
    else
      status=1
    fi
  done
done
if ((status == 0)); then
  rm -r "$kept"
else
  echo "packaging/reproducible.sh: not the same; compare $kept/a and '$kept/another folder'" >&2
fi
exit $status
