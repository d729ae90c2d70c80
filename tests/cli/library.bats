#!/usr/bin/env bats
# libpoisonctl as others find it: installed, found by pkg-config, used from C; it says what the program says.

load helpers

setup_file() {
  : "${POISONCTL_BUILD:?must be the build folder; ctest sets it}"
  export PREFIX=$BATS_FILE_TMPDIR/prefix
  DESTDIR=$PREFIX cmake --install "$POISONCTL_BUILD" --component library >/dev/null
  PKG_CONFIG_PATH=$(dirname "$(find "$PREFIX" -name libpoisonctl.pc)")
  export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR=$PREFIX
  export LD_LIBRARY_PATH=${PKG_CONFIG_PATH%/pkgconfig}
  HEADER=$(find "$PREFIX" -name poisonctl.h)
  export HEADER
  export DUMP=$BATS_FILE_TMPDIR/dump
  compile "$DUMP" "$BATS_TEST_DIRNAME/library_dump.c"
}

# PROGRAM SOURCE: as C11, with no warning and nothing but what pkg-config says.
compile() {
  # shellcheck disable=SC2046 # words are wanted
  cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Werror -o "$1" "$2" $(pkg-config --cflags --libs libpoisonctl)
}

dump() { "$DUMP" "$REGISTRY" "$MACHINE" "$@"; }

# BACKEND: the plan of the program, as library_dump writes it.
plan_by_program() {
  { p --json plan "$1" || [[ $? == 1 ]]; } | python3 -c 'import json, sys
plan, = json.load(sys.stdin)["backends"]
for one in plan["covered"]: print("covered", one["address"], one["size"])
for one in plan["refused"]: print("refused", one["address"], one["size"], one["reason"])
for one in plan["side_effects"]: print("effect", one)'
}

@test "a plan covers, refuses and changes what the program says, and its artifact is that of emit" {
  fill
  local backend form line='ro quiet memmap=0x1000%0x1800000-1+5 crashkernel=256M -- x'
  for backend in e820 offline; do
    [[ -n "$(plan_by_program "$backend")" ]]
    same "$(dump plan "$backend")" "$(plan_by_program "$backend")"
    cmp <(dump artifact "$backend") <(p -q emit "$backend")
  done
  for form in badram cutmem bcdedit table setup-data; do
    p -q emit e820 --form "$form" -o "$BATS_TEST_TMPDIR/$form" || [[ $? == 1 ]]
    [ -s "$BATS_TEST_TMPDIR/$form" ]
    cmp <(dump artifact e820 "$form") "$BATS_TEST_TMPDIR/$form"
  done
  says "$(dump artifact e820 - "$line")" ",0x1000%0x2800000-1+5," " -- x"
  cmp <(dump artifact e820 - "$line") <(p -q emit e820 --merge "$line")
}

@test "a list has what the shell gets, and tells of each range whether it is to be used" {
  fill
  ends 0 dump list
  local shell
  shell=$(p plan --shell offline) || [[ $? == 1 ]]
  eval "$shell"
  says "$output" "generation $POISONCTL_GENERATION" "page 4096"
  same "$(sed -n 's/^range \(.*\) \(.*\)/\1 \2/p' <<<"$output" | while read -r at size; do printf '0x%x+%d ' "$at" "$size"; done)" \
    "$POISONCTL_OFFLINE_COVERED "
  says "$output" "refused 83886080 4096 "
  same "$(dump check 0x2800000 1) $(dump check 0x27fffff 1) $(dump check 0x27fffff 2)" "1 0 1"
  same "$(dump check 0x5000010 16)" 2
  same "$(dump check 0 0) $(dump check 0xffffffffffffffff 2)" "-1 -1"
}

@test "the configuration of the machine and what is recorded later count" {
  fill
  local before
  before=$(dump list)
  p -q record 0x3800000
  [ "$(dump list)" != "$before" ]
  mkdir -p "$MACHINE/etc/poisonctl"
  printf '[list]\nbounds = frames=1\n' >"$MACHINE/etc/poisonctl/poisonctl.conf"
  same "$(dump plan e820)" "$(plan_by_program e820)"
  same "$(dump list | grep -c ^range)" 1
}

@test "what goes wrong has a status and a message; nothing is written" {
  ends 104 dump list
  says "$stderr" "$REGISTRY"
  fill
  ends 104 "$DUMP" "$REGISTRY" "$BATS_TEST_TMPDIR/none" list
  ends 101 dump plan nothing
  says "$stderr" "there is no backend 'nothing'"
  ends 101 dump plan kho
  says "$stderr" "poisonctl emit kho"
  ends 101 dump plan e820 nothing
  ends 101 dump plan offline - quiet
  ends 102 dump plan e820 - 'a="b'
  ends 105 dump plan devicetree
  echo "no database" >"$BATS_TEST_TMPDIR/text"
  ends 102 "$DUMP" "$BATS_TEST_TMPDIR/text" "$MACHINE" list
  rm "$MACHINE/proc/iomem"
  ends 104 dump list
}

@test "only functions of the header are seen from outside, each with its version" {
  local library header
  library=$(find "$PREFIX" -name 'libpoisonctl.so.1')
  same "$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')" libpoisonctl.so.1
  header=$(grep -o '\bpoisonctl_[a-z_]* *(' "$HEADER" | tr -d '( ' | sort -u)
  same "$(nm -D --defined-only --with-symbol-versions "$library" | sed 's/^[0-9a-f]* . //' | sort)" \
    "$(printf 'POISONCTL_1.0\n%s\n' "$header" | sed '/^poisonctl/s/$/@@POISONCTL_1.0/' | sort)"
  # Neither the tracing libraries nor Boost.
  ends 1 grep -E 'trace|boost' <(readelf -d "$library")
}

@test "Python calls it by its plain C types" {
  fill
  ends 0 python3 - "$(find "$PREFIX" -name 'libpoisonctl.so.1')" "$REGISTRY" "$MACHINE" <<'PYTHON'
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.poisonctl_version.restype = ctypes.c_char_p
library.poisonctl_list_count.restype = ctypes.c_size_t
made = ctypes.c_void_p()
status = library.poisonctl_list_open(sys.argv[2].encode(), sys.argv[3].encode(), 0, ctypes.byref(made), None)
print(library.poisonctl_version().decode(), status, library.poisonctl_list_count(made))
print(library.poisonctl_list_check(made, ctypes.c_uint64(0x2800000), ctypes.c_uint64(4096)))
library.poisonctl_list_close(made)
PYTHON
  same "$output" "$("$POISONCTL" --version | sed 's/.* //') 0 $(dump list | grep -c ^range)
1"
}

@test "the example of libpoisonctl(3) is compiled as the manual says, and prints what emit does" {
  fill
  local page=$HERE/../../packaging/man/libpoisonctl.3
  sed -n '/^\.EX$/,/^\.EE$/{/^\.E/d; s/\\e/\\/g; s/\\-/-/g; p}' "$page" >"$BATS_TEST_TMPDIR/examples"
  sed '/^cc /d' "$BATS_TEST_TMPDIR/examples" >"$BATS_TEST_TMPDIR/line.c"
  cd "$BATS_TEST_TMPDIR"
  ends 0 sh -euc "$(grep '^cc ' examples)"
  ends 0 ./line "$REGISTRY" "$MACHINE" "ro quiet"
  same "$output" "$(p -q emit e820 --merge "ro quiet")"
  says "$stderr" "0x5000000 is not covered: it "
  ends 1 ./line "$BATS_TEST_TMPDIR/none" "$MACHINE" quiet
}

@test "libpoisonctl(3) has each function of the header" {
  local page=$HERE/../../packaging/man/libpoisonctl.3
  same "$(sed -n '/SYNOPSIS/,/DESCRIPTION/p' "$page" | grep -o 'poisonctl_[a-z_]*(' | sort -u)" \
    "$(grep -o '\bpoisonctl_[a-z_]*(' "$HEADER" | sort -u)"
}
