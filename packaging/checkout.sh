# For build-deb.sh and build-rpm.sh, which source it: their options, and the commit that they build.
# shellcheck shell=bash

readonly exit_usage=64 exit_data=65

fail() {
  local status=$1
  shift
  printf 'packaging/%s: %s\n' "$(basename "$0")" "$*" >&2
  exit "$status"
}

# OPTION...: sets jobs, and output, an existing folder.
packaging_options() {
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  output=$root/build/packages
  jobs=$(nproc)
  while (($# > 0)); do
    case $1 in
      --output)
        output=${2:-}
        [[ -n $output ]] || fail $exit_usage "--output: expected a folder"
        shift
        ;;
      --jobs)
        jobs=${2:-}
        [[ $jobs =~ ^[1-9][0-9]*$ ]] || fail $exit_usage "--jobs: expected a number from 1 on, got '$jobs'"
        shift
        ;;
      -h | --help)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
        exit 0
        ;;
      *) fail $exit_usage "there is no option '$1'; usage: $(basename "$0") [--output DIR] [--jobs N]" ;;
    esac
    shift
  done
  mkdir -p "$output"
  output=$(cd "$output" && pwd)
}

# Sets tree, a new folder with the files of the commit, removed at the end; version; and for what looks at a
# clock, SOURCE_DATE_EPOCH (reproducible-builds.org/specs/source-date-epoch): when the commit was made.
unpack_commit() {
  SOURCE_DATE_EPOCH=$(git -C "$root" log -1 --format=%ct HEAD)
  export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
  [[ -z $(git -C "$root" status --porcelain) ]] ||
    echo "packaging/$(basename "$0"): what is not committed is not in the packages (git status)" >&2
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  git -C "$root" archive --format=tar --prefix=source/ HEAD | tar -x -C "$work"
  version=$(sed -n 's/^ *VERSION \([0-9.]*\)$/\1/p' "$work/source/CMakeLists.txt")
  [[ -n $version ]] || fail $exit_data "CMakeLists.txt: expected a line VERSION NUMBER in project()"
  tree=$work/poisonctl-$version
  mv "$work/source" "$tree"
}
