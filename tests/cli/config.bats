#!/usr/bin/env bats
# poisonctl config check: what is read, what each setting is and where it stands, what is not understood.

load helpers

# FILE LINE...: a file of the configuration.
configure() {
  mkdir -p "$MACHINE/etc/poisonctl/poisonctl.conf.d"
  printf '%s\n' "${@:2}" >"$MACHINE/etc/poisonctl/$1"
}

@test "without a file, each setting is the default that the documentation of the file gives" {
  ends 0 p config check
  says "$output" "no file is there" "[list] bounds" "[watch] refresh" default
  local defaults
  defaults=$(sed -n 's/^#bounds = //p' "$HERE/../../packaging/poisonctl.conf")
  says "$output" "$defaults"
  # What is documented in the file is taken when the # is gone.
  mkdir -p "$MACHINE/etc/poisonctl"
  sed 's/^#\([a-z]* = \)/\1/' "$HERE/../../packaging/poisonctl.conf" >"$MACHINE/etc/poisonctl/poisonctl.conf"
  has_shape poisonctl/config-v1 p --json config check
  same "$(json "[s['value'] for s in it['settings'] if s['value']] + it['problems']")" "['$defaults', 'e820', '60']"
}

@test "a later file's value counts, and where each stands is said" {
  configure poisonctl.conf "# ours" "" "[list]" "bounds = frames=7" "[watch]" "  refresh=e820   # and no more"
  configure poisonctl.conf.d/50-site.conf "[watch]" "refresh = reserve-mem,e820"
  configure poisonctl.conf.d/60.conf.old "[wach]"
  ends 0 p config check
  says "$output" "read: $MACHINE/etc/poisonctl/poisonctl.conf" "reserve-mem, e820" \
    "frames=7,per-mille=10,node-per-mille=20,floor=32M,hard-per-mille=100"
  has_shape poisonctl/config-v1 p --json config check
  same "$(json "[(s['key'], s['file'].split('/')[-1], s['line']) for s in it['settings'] if s['section'] != 'redfish']")" \
    "[('bounds', 'poisonctl.conf', 4), ('refresh', '50-site.conf', 2)]"
  same "$(json "len(it['files']), it['problems']")" "(2, [])"
}

@test "each line that is not understood is named, and the rest counts" {
  configure poisonctl.conf "bounds = frames=1" "[list]" "bonds = frames=1" "bounds = frames=2" "bounds = frames=3" \
    "floor" "[wach]" "refresh = kho" "[watch" "[watch]" "refresh = e821"
  configure poisonctl.conf.d/50.conf "[watch]" "refresh = kho"
  has_shape poisonctl/config-v1 p --json config check
  [ "$status" -eq 1 ]
  same "$(json "[(q['file'].split('/')[-1], q['line']) for q in it['problems']]")" \
    "[('poisonctl.conf', 1), ('poisonctl.conf', 3), ('poisonctl.conf', 5), ('poisonctl.conf', 6), ('poisonctl.conf', 7), ('poisonctl.conf', 9), ('poisonctl.conf', 11), ('50.conf', 2)]"
  same "$(json "[s['line'] for s in it['settings'] if s['section'] != 'redfish']")" "[4, 0]"
  ends 1 p config check
  says "$output" "line 1: there is no key 'bounds' above the first section" "line 3: there is no key 'bonds' in [list]" \
    "line 5: [list] bounds: stands in line 4 already" "line 6: 'floor': expected KEY = VALUE" \
    "line 7: there is no section '[wach]'; known are bounds in [list], refresh in [watch], and url" \
    "line 9: there is no section '[watch'" "line 11: [watch] refresh: expected e820, reserve-mem or bmc, found 'e821'" \
    "line 2: [watch] refresh: kho is kept current by poisonctl-kho.service"
  # What goes by it takes none of it.
  p -q record 0x3400000
  ends 65 p plan e820
  says "$stderr" "/etc/poisonctl/poisonctl.conf: line 1: "
}

@test "a file is checked before it is put in its place, and alone" {
  configure poisonctl.conf "[wach]"
  printf '[list]\nbounds = frames=9\n' >"$BATS_TEST_TMPDIR/new.conf"
  has_shape poisonctl/config-v1 p --json config check "$BATS_TEST_TMPDIR/new.conf"
  [ "$status" -eq 0 ]
  same "$(json "it['files']")" "['$BATS_TEST_TMPDIR/new.conf']"
  printf '[list]\nb\x1b[2Jounds = \xff\n' >"$BATS_TEST_TMPDIR/new.conf"
  ends 1 p config check "$BATS_TEST_TMPDIR/new.conf"
  says "$output" 'line 2: there is no key '"'b\\x1b[2Jounds'"
  ends 66 p config check "$BATS_TEST_TMPDIR/none.conf"
  ends 65 p config check "$BATS_TEST_TMPDIR"
  head -c 65537 /dev/zero >"$BATS_TEST_TMPDIR/new.conf"
  ends 65 p config check "$BATS_TEST_TMPDIR/new.conf"
  ends 64 p config
  ends 64 p config show
  says "$stderr" "config 'show': expected check or bounds"
}

@test "the bounds alone, as an initramfs gets them" {
  ends 0 p config bounds
  same "$output" "frames=1048576,per-mille=10,node-per-mille=20,floor=32M,hard-per-mille=100"
  configure poisonctl.conf "[list]" "bounds = frames=9,floor=4097"
  ends 0 p config bounds
  same "$output" "frames=9,per-mille=10,node-per-mille=20,floor=4097,hard-per-mille=100"
  ends 64 p config bounds file
  ends 64 p --json config bounds
  configure poisonctl.conf "[list]" "bounds = frames=x"
  ends 65 p config bounds
  same "$output" ""
}
