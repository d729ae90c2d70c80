#!/usr/bin/env bats
# What somebody's environment can do to a program of root (sudo -E): nothing. Each verb prints the same,
# writes the same and opens the same files, whatever the environment names.

load helpers

# Variables that libraries of ours, or libc, take places of files from. LD_* is not here: with those
# everything is lost before the first instruction of ours.
# shellcheck disable=SC2034 # observe takes the names of the arrays
make_hostile() {
  TRAP=$BATS_TEST_TMPDIR/trap
  mkdir -p "$TRAP"/{tmp,home/.config,modules,zone,locale}
  # What OpenSSL would do with it: load a module of theirs.
  printf 'openssl_conf = a\n[a]\nproviders = b\n[b]\ntheirs = c\n[c]\nmodule = %s/modules/theirs.so\nactivate = 1\n' \
    "$TRAP" > "$TRAP/openssl.cnf"
  CLEAN=(PATH="$PATH")
  HOSTILE=(TMPDIR="$TRAP/tmp" TMP="$TRAP/tmp" TEMP="$TRAP/tmp" SQLITE_TMPDIR="$TRAP/tmp"
    OPENSSL_CONF="$TRAP/openssl.cnf" OPENSSL_CONF_INCLUDE="$TRAP" OPENSSL_MODULES="$TRAP/modules"
    OPENSSL_ENGINES="$TRAP/modules" SSL_CERT_FILE="$TRAP/cert.pem" SSL_CERT_DIR="$TRAP" RANDFILE="$TRAP/rnd"
    HOME="$TRAP/home" XDG_CONFIG_HOME="$TRAP/home/.config" XDG_DATA_HOME="$TRAP/home" XDG_RUNTIME_DIR="$TRAP/home"
    XDG_CACHE_HOME="$TRAP/home" PATH="$TRAP/bin:$PATH" LANG=xx_YY.KOI8-R LC_ALL=../../../trap LC_NUMERIC=de_DE.UTF-8
    LOCPATH="$TRAP/locale" LANGUAGE=de NLSPATH="$TRAP/%N" TZ=":$TRAP/zone/Trap" TZDIR="$TRAP/zone"
    GCONV_PATH="$TRAP/modules" GETCONF_DIR="$TRAP" POSIXLY_CORRECT=1 HOSTALIASES="$TRAP/hosts" RES_OPTIONS=debug
    MALLOC_TRACE="$TRAP/trace" DEBUGINFOD_URLS="http://127.0.0.1:1" TRACEEVENT_PLUGIN_DIR="$TRAP/modules"
    COLUMNS=7 LINES=3 TERM="$TRAP/term" TERMINFO="$TRAP" CDPATH="$TRAP" BASH_ENV="$TRAP/sh" ENV="$TRAP/sh")
}

# NAME VARIABLES COMMAND...: output and opened files of the command in an environment of its own, without
# what is random.
observe() {
  local name=$1 status=0
  local -n variables=$2
  shift 2
  # LeakSanitizer cannot work in a program that is traced.
  env -i "${variables[@]}" ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=%file -o "$BATS_TEST_TMPDIR/$name.trace" "$@" \
    > "$BATS_TEST_TMPDIR/$name.out" 2> "$BATS_TEST_TMPDIR/$name.err" || status=$?
  echo "status $status" >> "$BATS_TEST_TMPDIR/$name.out"
  sed -i -E 's/[0-9]{8}T[0-9]{6}Z/TIME/g; s/[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+Z?/TIME/g; s/[0-9a-f]{16,128}/HEX/g; s/ [0-9.]+ (ms|s)\b/ WHILE/g; s/^(poisonctl_last_run_timestamp_seconds) .*/\1 TIME/' \
    "$BATS_TEST_TMPDIR/$name.out" "$BATS_TEST_TMPDIR/$name.err"
  # Of the calls the files, each once: /proc/self/fd and random names differ.
  grep -o '"[^"]*"' "$BATS_TEST_TMPDIR/$name.trace" | sort -u |
    sed -E 's/[0-9a-f]{16}\.tmp/RANDOM.tmp/; s/poisonctl-snapshot-[A-Za-z0-9]{6}/poisonctl-snapshot-RANDOM/; s/[0-9]{8}T[0-9]{6}Z/TIME/' |
    grep -v -e '^"/proc/self/fd' | sort -u > "$BATS_TEST_TMPDIR/$name.files"
}

# COMMAND...: both environments, from the same state.
is_the_same() {
  rm -rf "$BATS_TEST_TMPDIR/kept" && mkdir "$BATS_TEST_TMPDIR/kept"
  cp -a "$MACHINE" "$REGISTRY"* "$BATS_TEST_TMPDIR/kept"
  observe clean CLEAN "$@"
  rm -rf "$MACHINE" "$REGISTRY"*
  cp -a "$BATS_TEST_TMPDIR/kept/." "$BATS_TEST_TMPDIR"
  observe hostile HOSTILE "$@"
  if ! diff "$BATS_TEST_TMPDIR/clean.out" "$BATS_TEST_TMPDIR/hostile.out" >&2 ||
    ! diff "$BATS_TEST_TMPDIR/clean.err" "$BATS_TEST_TMPDIR/hostile.err" >&2 ||
    ! diff "$BATS_TEST_TMPDIR/clean.files" "$BATS_TEST_TMPDIR/hostile.files" >&2 ||
    grep -F "$TRAP" "$BATS_TEST_TMPDIR/hostile.trace" >&2; then
    echo "the environment makes a difference: $*" >&2
    return 1
  fi
}

ours() { is_the_same "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" "$@"; }

@test "no environment variable changes what a verb reads or prints" {
  make_hostile
  fill
  mkdir -p "$MACHINE"/etc/default/grub.d
  printf 'GRUB_CMDLINE_LINUX=""\n' > "$MACHINE/etc/default/grub"
  printf '[  100.0] Memory failure: 0x3500: recovery action for free buddy page: Recovered\n' \
    > "$BATS_TEST_TMPDIR/kernel.log"
  local verb
  for verb in list "show 0x2800000" status check plan "emit e820" "emit offline" verify "audit verify" \
    "topology show" map metrics report "config check" backends "handover key" "rebuild --check" \
    "apply e820" "replay --dry-run" replay; do
    # shellcheck disable=SC2086 # words are wanted
    ours $verb
  done
  ours --json list
  ours record 0x3600000 --note "slot B2"
  ours collect kernel-log "$BATS_TEST_TMPDIR/kernel.log"
  ours collect kernel
  ours snapshot
  local form
  for form in "audit export -o" "audit export --format csv -o" "report -o" "metrics -o" "handover make -o" \
    "emit initrd -o"; do
    # shellcheck disable=SC2086
    ours $form "$BATS_TEST_TMPDIR/out"
  done
}

@test "no environment variable changes what rasdaemon's database is read with" {
  make_hostile
  fill
  sqlite3 "$BATS_TEST_TMPDIR/ras.db" "CREATE TABLE mc_event (id INTEGER PRIMARY KEY, timestamp TEXT,
    err_count INTEGER, err_type TEXT, err_msg TEXT, label TEXT, mc INTEGER, top_layer INTEGER,
    middle_layer INTEGER, lower_layer INTEGER, address INTEGER, grain INTEGER, syndrome INTEGER,
    driver_detail TEXT); INSERT INTO mc_event VALUES (1, '2026-03-01 10:11:12 +0000', 1, 'Corrected',
    'memory read', 'DIMM_A1', 0, 0, 0, -1, 0x3600000, 7, 0, '');"
  ours collect rasdaemon "$BATS_TEST_TMPDIR/ras.db"
}

@test "no environment variable changes what poison-replay does" {
  make_hostile
  fill
  mkdir -p "$MACHINE/poisonctl" "$MACHINE/etc/poisonctl"
  ends 1 p handover make -o "$MACHINE/poisonctl/handover"
  p handover key > "$MACHINE/etc/poisonctl/trusted-keys"
  is_the_same "$POISON_REPLAY" --sysroot "$MACHINE" --dry-run
  is_the_same "$POISON_REPLAY" --sysroot "$MACHINE"
  is_the_same "$POISON_REPLAY" --dry-run more words
}

@test "a terminal is asked for by the name of the locale, and no locale is loaded" {
  make_hostile
  fill
  # shellcheck disable=SC2016 # the inner shell expands
  env -i ASAN_OPTIONS=detect_leaks=0 PATH="$PATH" LOCPATH="$TRAP/locale" LC_ALL=xx_YY.UTF-8 POISONCTL="$POISONCTL" MACHINE="$MACHINE" \
    REGISTRY="$REGISTRY" TRACE="$BATS_TEST_TMPDIR/map.trace" SHELL=/bin/sh \
    script -qec 'strace -qq -e trace=%file -o "$TRACE" "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" map' \
    /dev/null > "$BATS_TEST_TMPDIR/map"
  grep -q $'\u2716' "$BATS_TEST_TMPDIR/map"
  run ! grep -F -e locale -e gconv "$BATS_TEST_TMPDIR/map.trace"
}
