#!/usr/bin/env bats
# Files in folders that somebody else may write to, and masks that somebody else has set: what we write
# goes where it is to go, with the mode that it is to have, and nowhere else.

load helpers

# A folder without a sticky bit that everybody may change, so that fs.protected_symlinks and its
# relatives (man 5 proc) do not help; and a file that is not to be touched.
make_playground() {
  OPEN=$BATS_TEST_TMPDIR/open
  VICTIM=$BATS_TEST_TMPDIR/victim
  mkdir -m 0777 "$OPEN"
  chmod 0777 "$OPEN"
  echo "root:*:19000::::::" > "$VICTIM"
  chmod 0600 "$VICTIM"
}
is_untouched() {
  same "$(cat "$VICTIM")" "root:*:19000::::::"
  same "$(stat -c '%a %h' "$VICTIM")" "600 ${1:-1}"
}

# Verbs that write a file, as words before its name.
WRITERS=("audit export -o" "audit export --format csv -o" "audit export --format rasdaemon -o" "report -o"
  "metrics -o" "handover make -o" "emit initrd -o" "emit e820 -o")

@test "a link that waits at the place of an output is replaced, not followed" {
  make_playground
  p -q record 0x2800000 0x3400000
  local words
  for words in "${WRITERS[@]}"; do
    ln -sfn "$VICTIM" "$OPEN/out"
    # shellcheck disable=SC2086 # words are wanted
    ends 0 p -q $words "$OPEN/out"
    [ ! -L "$OPEN/out" ] && [ -s "$OPEN/out" ] || { echo "$words" >&2; return 1; }
    is_untouched
    rm "$OPEN/out"
    ln "$VICTIM" "$OPEN/out"
    # shellcheck disable=SC2086
    ends 0 p -q $words "$OPEN/out"
    is_untouched 1
    rm "$OPEN/out"
  done
}

@test "a pipe, a folder or a file of others that waits there holds nothing up" {
  make_playground
  p -q record 0x2800000 0x3400000
  local words
  for words in "${WRITERS[@]}"; do
    mkfifo "$OPEN/out"
    # shellcheck disable=SC2086
    ends 0 timeout 20 "$POISONCTL" -q --sysroot "$MACHINE" --registry "$REGISTRY" $words "$OPEN/out"
    [ -f "$OPEN/out" ]
    rm "$OPEN/out"
    mkdir "$OPEN/out"
    # shellcheck disable=SC2086
    ends 73 p -q $words "$OPEN/out"
    rmdir "$OPEN/out"
    : > "$OPEN/out"
    chmod 0666 "$OPEN/out"
    # shellcheck disable=SC2086
    ends 0 p -q $words "$OPEN/out"
    # A new file, not that of somebody who keeps it open.
    [ "$(stat -c %a "$OPEN/out")" != 666 ]
    rm "$OPEN/out"
    same "$(ls -A "$OPEN")" ""
  done
}

@test "a link that comes and goes while we write is never followed" {
  make_playground
  p -q record 0x2800000 0x3400000
  (
    while [ ! -e "$BATS_TEST_TMPDIR/enough" ]; do
      ln -sfn "$VICTIM" "$OPEN/out" || :
      rm -f "$OPEN/out" || :
    done
  ) 3>&- &
  local attacker=$! round
  for round in $(seq 12); do
    p -q metrics -o "$OPEN/out" || echo "round $round: $?" >&2
    p -q handover make -o "$OPEN/out" || echo "round $round: $?" >&2
  done
  : > "$BATS_TEST_TMPDIR/enough"
  wait "$attacker"
  is_untouched
}

@test "a registry is not made through a link, nor its key and its checkpoint" {
  make_playground
  ln -s "$VICTIM" "$OPEN/r.db"
  run --separate-stderr "$POISONCTL" --sysroot "$MACHINE" --registry "$OPEN/r.db" record 0x2800000
  [ "$status" -ne 0 ]
  is_untouched
  rm "$OPEN/r.db"
  ln -s "$BATS_TEST_TMPDIR/not-there" "$OPEN/r.db"
  run --separate-stderr "$POISONCTL" --sysroot "$MACHINE" --registry "$OPEN/r.db" record 0x2800000
  [ "$status" -ne 0 ]
  [ ! -e "$BATS_TEST_TMPDIR/not-there" ]
  rm "$OPEN/r.db"
  local part
  for part in head key; do
    ln -s "$VICTIM" "$OPEN/r.db.$part"
    run --separate-stderr "$POISONCTL" --sysroot "$MACHINE" --registry "$OPEN/r.db" record 0x2800000
    is_untouched
    run ! grep -q PRIVATE "$VICTIM"
    rm -f "$OPEN"/r.db*
  done
}

@test "a key that somebody else put there and can read is refused" {
  make_playground
  openssl genpkey -algorithm ed25519 -out "$OPEN/r.db.key"
  chmod 0644 "$OPEN/r.db.key"
  run --separate-stderr "$POISONCTL" --sysroot "$MACHINE" --registry "$OPEN/r.db" record 0x2800000
  says "$stderr" "r.db.key"
  ends 77 "$POISONCTL" --sysroot "$MACHINE" --registry "$OPEN/r.db" handover make -o "$OPEN/out"
  [ ! -e "$OPEN/out" ]
}

@test "a link in place of a boot file is not followed" {
  make_playground
  mkdir -p "$MACHINE"/etc/default/{grub.d,kexec.d}
  printf 'GRUB_CMDLINE_LINUX=""\n' > "$MACHINE/etc/default/grub"
  p -q record 0x3400000
  ln -s "$VICTIM" "$MACHINE/etc/default/grub.d/zz-poisonctl.cfg"
  ends 65 p apply e820 --force
  says "$stderr" "expected a plain file"
  is_untouched
  [ ! -e "$MACHINE/etc/default/kexec.d/zz-poisonctl" ]
}

@test "a link in place of the report or the lock of a replay is not followed" {
  make_playground
  p -q record 0x2800000 0x3400000
  mkdir -p "$MACHINE/run/poisonctl"
  chmod 0777 "$MACHINE/run/poisonctl"
  local name
  for name in replay.json replay.lock; do
    ln -s "$VICTIM" "$MACHINE/run/poisonctl/$name"
    run --separate-stderr p replay
    is_untouched
    rm -f "$MACHINE/run/poisonctl"/*
  done
}

# Every file that a round of work makes, with its mode.
modes_under() {
  local work=$BATS_TEST_TMPDIR/round
  rm -rf "$work"
  mkdir "$work"
  (
    umask 022
    python3 "$HERE/machine.py" "$work/machine"
    mkdir -p "$work"/machine/etc/{default/grub.d,default/kexec.d,kernel,poisonctl} "$work/machine/poisonctl" "$work/out"
    printf 'GRUB_CMDLINE_LINUX=""\n' > "$work/machine/etc/default/grub"
    printf 'ro\n' > "$work/machine/etc/kernel/cmdline"
    (cd "$work" && find . | sort) > "$BATS_TEST_TMPDIR/given"
    umask "$1"
    one() { "$POISONCTL" -q --sysroot "$work/machine" --registry "$work/r.db" "$@"; }
    one record 0x2800000 0x3400000
    one collect kernel
    one apply e820
    one snapshot > /dev/null
    one handover make -o "$work/machine/poisonctl/handover"
    one handover key > /dev/null
    local words
    for words in "${WRITERS[@]}"; do
      # shellcheck disable=SC2086
      one $words "$work/out/${words//[^a-z0-9]/}"
    done
    one replay > /dev/null || [ $? -eq 1 ]
  )
  # Folders of ours too; what was there before is not ours.
  (cd "$work" && find . -printf '%p\n' | sort | comm -13 "$BATS_TEST_TMPDIR/given" - |
    xargs -d '\n' stat -c '%A %n') | sed -E 's/[0-9]{8}T[0-9]+Z?|[0-9a-f]{16}/X/g'
}

@test "modes are the same under any umask" {
  modes_under 022 > "$BATS_TEST_TMPDIR/usual"
  grep -q -- '-rw-r----- ./r.db$' "$BATS_TEST_TMPDIR/usual"
  grep -q -- '-rw------- ./r.db.key$' "$BATS_TEST_TMPDIR/usual"
  local mask
  for mask in 000 077; do
    modes_under $mask > "$BATS_TEST_TMPDIR/other"
    diff "$BATS_TEST_TMPDIR/usual" "$BATS_TEST_TMPDIR/other"
  done
  # Others read nothing that names the host or its memory, but what was asked for by name.
  run ! grep -E -- '^-.{5}[^-]{2}.* \./(r\.db|machine/run)' "$BATS_TEST_TMPDIR/usual"
  run ! grep -E -- '^.{8}w' "$BATS_TEST_TMPDIR/usual"
}

@test "a program of root leaves no core dump, which would hold its key" {
  # Of others /proc/self has to stay readable.
  local wanted=1
  [ "$(id -u)" -eq 0 ] || wanted=0
  local program
  for program in "$POISONCTL" "$POISON_REPLAY"; do
    ASAN_OPTIONS=detect_leaks=0 strace -qq -e trace=prctl -o "$BATS_TEST_TMPDIR/trace" "$program" --version
    same "$(grep -c "PR_SET_DUMPABLE, SUID_DUMP_DISABLE) *= 0" "$BATS_TEST_TMPDIR/trace")" $wanted
  done
}

@test "no secret is in an argument, an output or a log" {
  p -q record 0x2800000 0x3400000
  p handover make -o "$BATS_TEST_TMPDIR/handover"
  local secret words
  secret=$(sed -n 2p "$REGISTRY.key")
  [ "${#secret}" -ge 40 ]
  for words in "${WRITERS[@]}"; do
    # shellcheck disable=SC2086
    p -v $words "$BATS_TEST_TMPDIR/out" > "$BATS_TEST_TMPDIR/said" 2>&1
    run ! grep -aF "$secret" "$BATS_TEST_TMPDIR/out" "$BATS_TEST_TMPDIR/said"
  done
  for words in list status "handover key" "audit verify" "config check" snapshot; do
    # shellcheck disable=SC2086
    p -v $words > "$BATS_TEST_TMPDIR/said" 2>&1 || [ $? -eq 1 ]
    run ! grep -aF "$secret" "$BATS_TEST_TMPDIR/said"
  done
  p capture "$BATS_TEST_TMPDIR/copy"
  run ! grep -raF "$secret" "$BATS_TEST_TMPDIR/copy"
}
