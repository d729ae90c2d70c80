#!/usr/bin/env bash
# Installs the packages that poisonctl needs, as far as they are missing.
#
#   packaging/dependencies/install.sh GROUP...
#
# GROUP is build, test, package or qemu; debian.txt and fedora.txt say what is in each and what for. Nothing is
# touched, and no root is needed, when nothing is missing. Exit status: 0 everything is there, 64 wrong
# usage, 69 something could not be installed.
set -euo pipefail

folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly folder groups="build test package qemu"
readonly exit_usage=64 exit_unavailable=69

fail() {
  local status=$1
  shift
  printf 'packaging/dependencies/install.sh: %s\n' "$*" >&2
  exit "$status"
}

# The family of this distribution: debian, fedora, or nothing for one we do not know.
distribution() {
  local word
  # shellcheck source=/dev/null
  for word in $(. /etc/os-release && echo "${ID:-} ${ID_LIKE:-}"); do
    case $word in
      debian | ubuntu) echo debian && return ;;
      fedora | rhel | centos) echo fedora && return ;;
    esac
  done
}

# listed LIST GROUP: lines "package<tab>what for".
listed() {
  awk -v group="[$2]" '
    /^\[/ { inside = ($1 == group); next }
    inside && !/^[[:space:]]*(#|$)/ {
      what = $0; sub(/^[^#]*#?[[:space:]]*/, "", what)
      print $1 "\t" what
    }' "$1"
}

# Those of the packages that are installed, one a line.
installed_debian() {
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    sed -n 's/^installed //p' || true  # dpkg-query fails when it does not know one of them
}

installed_fedora() {
  # --whatprovides is not for this: a package is named by its own name here.
  rpm -q --qf '%{NAME}\n' "$@" 2>/dev/null | grep -v ' is not installed$' || true
}

install_debian() {
  "${as_root[@]}" apt-get -q update || return
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install "$@"
}

install_fedora() {
  "${as_root[@]}" dnf -y --setopt=install_weak_deps=False install "$@"
}

(($# > 0)) || fail $exit_usage "expected at least one GROUP of: $groups"
for group in "$@"; do
  [[ " $groups " == *" $group "* ]] ||
    fail $exit_usage "there is no group '$group'; expected: $groups"
done

family=$(distribution)
[[ -n $family ]] || fail $exit_unavailable "/etc/os-release: expected Debian, Fedora or one made" \
  "from them; install what $folder/debian.txt lists for: $*"
list=$folder/$family.txt

declare -A purpose=()
packages=()
for group in "$@"; do
  while IFS=$'\t' read -r package what; do
    [[ -n ${purpose[$package]:-} ]] || packages+=("$package")
    purpose[$package]=${what:-needed for $group}
  done < <(listed "$list" "$group")
done
((${#packages[@]} > 0)) || fail $exit_unavailable "$list lists no packages for: $*"

declare -A there=()
while read -r package; do there[$package]=yes; done < <("installed_$family" "${packages[@]}")
missing=()
for package in "${packages[@]}"; do
  [[ -n ${there[$package]:-} ]] || missing+=("$package")
done
((${#missing[@]} > 0)) || exit 0

echo "Missing packages (${list##*/}: $*), to be installed now with what they depend on:"
for package in "${missing[@]}"; do
  printf '  %-29s %s\n' "$package" "${purpose[$package]}"
done

as_root=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || fail $exit_unavailable "installing packages takes root, and there" \
    "is no sudo; as root, run: $folder/install.sh $*"
  as_root=(sudo)
fi
# Hundreds of lines, of interest only if it fails. sudo asks for a password on the terminal.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"install_$family" "${missing[@]}" >"$log" 2>&1 || {
  cat "$log" >&2
  fail $exit_unavailable "could not install the packages above; what the package manager said is above" \
    "too. Once they are there, run this again: $folder/install.sh $*"
}
echo "Installed."
