#!/usr/bin/env bash
# Builds the packages of the commit that is checked out twice, and says whether they are the same bytes.
#
#   packaging/reproducible.sh [--cached] [--first DIR] [deb|rpm]...
#
#   --cached       let a compiler cache serve both builds, where one is set up (CMAKE_CXX_COMPILER_LAUNCHER): then
#                  only what links, strips and packs is done twice
#   --first DIR    the first build is there already, with packages of this commit, compiled as the second will be: objects
#                  from a compiler cache that serves several folders have one of them in their debug information
#
# Without a form: both. The second build is in another folder, later, with another umask, locale, time zone, number of
# jobs and, without --cached, home folder. Exit status: 0 the same; 1 not the same, and both are kept to be compared, with diffoscope
# for one; 64 wrong usage; else that of the build that failed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cached=no
given=
forms=()
while (($# > 0)); do
  case $1 in
    --cached) cached=yes ;;
    --first)
      given=${2:-}
      [[ -d $given ]] || {
        echo "packaging/reproducible.sh: --first: expected a folder, got '$given'" >&2
        exit 64
      }
      shift
      ;;
    deb | rpm) forms+=("$1") ;;
    -h | --help)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    *)
      echo "packaging/reproducible.sh: there is no '$1'; usage: reproducible.sh [--cached] [--first DIR] [deb|rpm]..." >&2
      exit 64
      ;;
  esac
  shift
done
((${#forms[@]} > 0)) || forms=(deb rpm)

[[ $cached == yes ]] || unset CMAKE_C_COMPILER_LAUNCHER CMAKE_CXX_COMPILER_LAUNCHER
kept=$(mktemp -d)
status=0
for form in "${forms[@]}"; do
  first=$given
  if [[ -z $first ]]; then
    first=$kept/a
    (umask 022 && "$here/build-$form.sh" --output "$first")
    sleep 2 # times are in whole seconds
  fi
  second="$kept/another folder"
  (
    umask 027
    # ccache has its folder under HOME, looks at LANG, and counts how deep a folder is.
    if [[ $cached == no ]]; then
      mkdir -p "$kept/tmp"
      export TMPDIR=$kept/tmp LANG=de_DE.UTF-8 HOME=/nonexistent
    fi
    LC_ALL=C TZ=Pacific/Kiritimati \
      "$here/build-$form.sh" --output "$second" --jobs $(($(nproc) + 1))
  )
  compared=0
  for package in "$first"/*."$form"; do
    compared=$((compared + 1))
    sha256sum "$package" "$second/$(basename "$package")" || status=1
    if cmp "$package" "$second/$(basename "$package")"; then
      echo "packaging/reproducible.sh: $(basename "$package"): the same bytes"
    else
      status=1
    fi
  done
  # Nothing more in the second, either.
  (($(find "$second" -name "*.$form" | wc -l) == compared)) || {
    echo "packaging/reproducible.sh: the builds have not the same packages: $(cd "$second" && echo ./*."$form")" >&2
    status=1
  }
done
if ((status == 0)); then
  rm -r "$kept"
else
  echo "packaging/reproducible.sh: not the same; compare ${given:-$kept/a} and '$kept/another folder'" >&2
fi
exit $status
