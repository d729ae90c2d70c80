#!/usr/bin/env bats
# poisonctl replay and poison-replay, on a machine whose kernel obeys nothing: what is ordered, what
# is left alone, what is believed, and what is said of it. Real kernels are in tests/qemu.

load helpers

# The frames of the test machine: free, in use by the kernel, retired, of a process.
FREE=0x3400000 CACHE=0x1000000 RETIRED=0x2800000

early() { "$POISON_REPLAY" --sysroot "$MACHINE" "$@"; }
report() { cat "$MACHINE/run/poisonctl/replay.json"; }
last_order() { cat "$MACHINE/sys/devices/system/memory/hard_offline_page"; }

# As the hook of the initramfs does.
carry() {
  ends 0 p handover make -o "$MACHINE/poisonctl/handover"
}
trust_own_key() {
  mkdir -p "$MACHINE/etc/poisonctl"
  p handover key > "$MACHINE/etc/poisonctl/trusted-keys"
}
a_list() {
  p -q record $FREE $CACHE $RETIRED
  mkdir -p "$MACHINE/poisonctl"
  carry
  trust_own_key
}

@test "poison-replay without a list looks at nothing and says nothing" {
  rm -r "$MACHINE/proc" "$MACHINE/sys"
  ends 0 early
  same "$output$stderr" ""
  [ ! -e "$MACHINE/run" ]
}

@test "poison-replay orders the rest of the list and reads what became of it" {
  a_list
  ends 1 early
  # This kernel obeys nothing: no outcome is taken from an order that it did not refuse.
  says "$output" "1 were already" "1 in use" "1 not retired"
  same "$(last_order)" $FREE
  output=$(report)
  printf '%s\n' "$output" | python3 "$HERE/json_shape.py" poisonctl/replay-v1
  same "$(json "it['stage'], it['orders'], [(hex(r['address']), r['state']) for r in it['ranges']]")" \
    "('initramfs', 10, [('0x1000000', 'taken'), ('0x2800000', 'already'), ('0x3400000', 'failed')])"
  same "$(stat -c %a "$MACHINE/run/poisonctl/replay.json")" 640
}

@test "poison-replay takes as much of a list as the configuration of the machine says" {
  a_list
  echo "frames=1,per-mille=10" > "$MACHINE/etc/poisonctl/bounds"
  ends 1 early
  output=$(report)
  same "$(json "len(it['ranges']), len(it['refused'])")" "(1, 2)"
  echo "frames=x" > "$MACHINE/etc/poisonctl/bounds"
  ends 1 early
  says "$stderr" "$MACHINE/etc/poisonctl/bounds: " "the bounds are those by default"
  output=$(report)
  same "$(json "len(it['ranges']), len(it['refused'])")" "(3, 0)"
}

@test "poison-replay believes no list of somebody else, and says so" {
  a_list
  : > "$MACHINE/etc/poisonctl/trusted-keys"
  ends 77 early
  says "$stderr" "[unknown-key]"
  same "$(last_order)" ""
  output=$(report)
  same "$(json "it['orders'], it['ranges'], it['handovers'][0]['trust']")" "(0, [], 'refuse')"
  echo rubbish > "$MACHINE/etc/poisonctl/trusted-keys"
  ends 65 early
  says "$stderr" "trusted-keys:1: expected"
}

@test "poison-replay that cannot begin leaves the reason for status" {
  a_list
  echo rubbish > "$MACHINE/etc/poisonctl/trusted-keys"
  ends 65 early --dry-run
  [ ! -e "$MACHINE/run" ]
  ends 65 early
  output=$(report)
  same "$(json "it['stage'], it['orders'], 'trusted-keys:1: expected' in it['not_replayed']")" \
    "('initramfs', 0, True)"
  ends 0 p status
  says "$output" "nothing was replayed" "trusted-keys:1: expected"
  trust_own_key
  mv "$MACHINE/proc/iomem" "$BATS_TEST_TMPDIR/iomem"
  ends 66 early
  output=$(report)
  says "$output" "proc/iomem"
  mv "$BATS_TEST_TMPDIR/iomem" "$MACHINE/proc/iomem"
  ends 1 early
  output=$(report)
  same "$(json "it['not_replayed'], it['orders']")" "('', 10)"
}

@test "poison-replay takes the newest list that is believed" {
  a_list
  local pstore=$MACHINE/sys/fs/pstore
  mkdir -p "$pstore"
  cp "$MACHINE/poisonctl/handover" "$BATS_TEST_TMPDIR/old"
  p -q record 0x3500000
  carry
  mv "$MACHINE/poisonctl/handover" "$BATS_TEST_TMPDIR/new"
  # A log of a region of memory: cut at its start, with what others wrote in between.
  { tail -c 100 "$BATS_TEST_TMPDIR/old"; echo noise; cat "$BATS_TEST_TMPDIR/old" "$BATS_TEST_TMPDIR/new"
    printf '\xd0\x0d\xfe\xed and no list'; } > "$pstore/pmsg-ramoops-0"
  echo dump > "$pstore/dmesg-ramoops-0"
  cp "$BATS_TEST_TMPDIR/old" "$MACHINE/poisonctl/handover"
  ends 1 early
  output=$(report)
  same "$(json "it['generation'], [(h['generation'], h['used'], h['trust']) for h in it['handovers']]")" \
    "(4, [(3, False, 'refuse'), (4, True, 'accept'), (3, False, 'refuse')])"
  says "$output" older-generation "offset"
}

@test "poison-replay refuses where the kernel would panic, and is blind without page flags" {
  a_list
  echo 0 > "$MACHINE/proc/sys/vm/memory_failure_recovery"
  ends 1 early
  says "$output" "nothing was replayed" "would panic"
  same "$(last_order)" ""
  echo 1 > "$MACHINE/proc/sys/vm/memory_failure_recovery"
  rm "$MACHINE/proc/kpageflags"
  ends 1 early
  says "$output" "3 cannot be told"
  same "$(last_order)" $FREE
}

@test "poison-replay --dry-run changes nothing" {
  a_list
  ends 1 early --dry-run
  says "$output" "2 not asked for"
  same "$(last_order)" ""
  [ ! -e "$MACHINE/run" ]
}

@test "poison-replay links no more than an initramfs has, but libfdt and fmt" {
  ends 0 readelf -d "$POISON_REPLAY"
  says "$output" "[libc.so"
  local unknown
  unknown=$(printf '%s\n' "$output" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
    grep -vE '^(libc|libm|libgcc_s|libstdc\+\+|libcrypto|libfdt|libfmt|ld-linux.*|libasan|libubsan)\.so' || true)
  same "" "$unknown"
}

@test "poison-replay: wrong use" {
  ends 64 early --nonsense
  ends 64 early word
  ends 66 early --from "$BATS_TEST_TMPDIR/none"
  ends 0 early --help
  says "$output" "--from FILE"
  ends 0 early --version
}

@test "replay orders what the registry lists and records what it reads" {
  p -q record $FREE $CACHE $RETIRED
  ends 1 p replay
  says "$output" "already" "failed" "free: can be allocated"
  says "$stderr" "1 were already, 1 in use, 1 not retired"
  ends 0 p --json list
  same "$(json "[r['retirement'] for r in it['records']]")" "['pending', 'effective', 'pending']"
  has_shape poisonctl/replay-v1 p --json replay
  same "$(json "it['stage'], it['handovers']")" "('service', [])"
  cp "$REGISTRY" "$REGISTRY.before"
  ends 1 p -q replay
  cmp "$REGISTRY" "$REGISTRY.before"
}

@test "replay --dry-run says what it would do" {
  p -q record $FREE $RETIRED
  cp "$REGISTRY" "$REGISTRY.before"
  ends 1 p --json replay --dry-run
  same "$(json "it['dry_run'], it['orders'], [r['state'] for r in it['ranges']]")" \
    "(True, 0, ['already', 'pending'])"
  same "$(last_order)" ""
  [ ! -e "$MACHINE/run" ]
  cmp "$REGISTRY" "$REGISTRY.before"
}

@test "replay takes up what the initramfs did, once" {
  a_list
  ends 1 early
  ends 1 p replay
  ends 0 p --json show $RETIRED
  same "$(json "[(e['source'], e['kind']) for e in it['events']][1:]")" "[('replay', 'outcome')]"
  output=$(report)
  same "$(json "it['stage'], it['handovers'][0]['used']")" "('service', True)"
}

@test "what the kernel kept stays failed, whatever its flags look like" {
  p -q record $RETIRED
  ends 0 p -q replay
  # The same frame, as an order that the kernel answered with EBUSY leaves it.
  sed -i "s/\"kept\":\\[\\]/\"kept\":[{\"address\":$((RETIRED)),\"size\":4096}]/" \
    "$MACHINE/run/poisonctl/replay.json"
  ends 1 p verify
  says "$output" failed "the kernel kept it"
  ends 1 p replay
  says "$output" taken
  ends 0 p status
  says "$output" "IN USE $RETIRED" "next       boot the next kernel with 'poisonctl emit e820'"
  has_shape poisonctl/status-v1 p --json status
  # In another boot nothing is known of it.
  echo 22222222-2222-3333-4444-555555555555 > "$MACHINE/proc/sys/kernel/random/boot_id"
  ends 0 p verify
}

@test "after a replay that was cut off, a flagged frame is in doubt" {
  p -q record $RETIRED
  tr -d '\n' < "$MACHINE/proc/sys/kernel/random/boot_id" > "$BATS_TEST_TMPDIR/boot"
  mkdir -p "$MACHINE/run/poisonctl"
  cp "$BATS_TEST_TMPDIR/boot" "$MACHINE/run/poisonctl/replay.lock"
  ends 1 p verify
  says "$output" unknown "a replay was cut off"
  ends 1 p replay
  says "$output" unknown "a replay was cut off"
  same "$(cat "$MACHINE/run/poisonctl/replay.lock")" ""
  # That one was whole, and knew no better.
  ends 1 p verify
  says "$output" unknown
}

@test "replay --from a handover that is believed, and of one that is not" {
  a_list
  ends 1 p --json replay --from "$MACHINE/poisonctl/handover"
  same "$(json "it['generation'], len(it['ranges'])")" "(3, 3)"
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" record $FREE
  "$POISONCTL" -q --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" handover make \
    -o "$BATS_TEST_TMPDIR/forged"
  ends 77 p replay --from "$BATS_TEST_TMPDIR/forged"
  says "$stderr" "is not believed" "[unknown-key]"
}

@test "replay without a registry, without page flags, with a report that is no report" {
  ends 66 p replay
  p -q record $FREE
  mkdir -p "$MACHINE/run/poisonctl"
  echo '{"schema":"poisonctl/replay-v1"}' > "$MACHINE/run/poisonctl/replay.json"
  ends 0 p status
  says "$stderr" "replay.json: expected"
  ends 1 p replay
  rm "$MACHINE/proc/kpageflags"
  run p replay
  [ "$status" -ge 66 ]
  same "$(last_order)" $FREE
}

# It ignores what it does not know, and says so: nothing is what it may say.
@test "systemd understands the units of replay" {
  local unit=$BATS_TEST_TMPDIR/poisonctl-replay.service
  sed "s#^ExecStart=[^ ]*#ExecStart=$POISONCTL#" \
    "$HERE/../../packaging/systemd/poisonctl-replay.service.in" > "$unit"
  cp "$HERE/../../packaging/systemd/poisonctl-replay.timer" "$BATS_TEST_TMPDIR"
  ends 0 systemd-analyze verify --man=no "$unit" "$BATS_TEST_TMPDIR/poisonctl-replay.timer"
  if [[ "$output$stderr" == *poisonctl-replay* ]]; then
    echo "$output$stderr" >&2
    return 1
  fi
}

@test "the scripts of the initramfs do nothing in a kernel that saves a crash" {
  local hook=$HERE/../../packaging/initramfs-tools/scripts/init-top/poisonctl
  same "" "$("$hook" prereqs)"
  ends 0 "$HERE/../../packaging/initramfs-tools/hooks/poisonctl" prereqs
  grep -q '! -e /proc/vmcore' "$hook" "$HERE/../../packaging/dracut/poison-replay.sh"
}

# A hook of initramfs-tools or dracut ($1), as a script that looks at the test machine and makes image/.
hook_script() {
  mkdir -p image programs
  printf '#!/bin/sh\nexec %q --sysroot %q --registry %q "$@"\n' "$POISONCTL" "$MACHINE" "$REGISTRY" >programs/poisonctl
  chmod +x programs/poisonctl
  echo 'copy_exec() { :; }' >hook-functions
  sed -e "s#/var/lib/poisonctl/registry.db#$REGISTRY#; s#/usr/share/initramfs-tools/hook-functions#./hook-functions#" \
    -e "s#/etc/poisonctl/trusted-keys\\([] ;]\\)#$MACHINE&#g; s# /etc/machine-id# $MACHINE/etc/machine-id#g" \
    "$HERE/../../packaging/$1"
}

@test "an image trusts the key that is made with its list" {
  cd "$BATS_TEST_TMPDIR"
  p -q record $FREE
  hook_script initramfs-tools/hooks/poisonctl >hook
  { hook_script dracut/module-setup.sh
    printf '%s\n' 'inst_binary() { :; }' 'inst_hook() { :; }' 'derror() { echo "$*" >&2; }' install
  } >module
  local words
  for words in "sh hook" "bash module"; do
    rm -rf image "$REGISTRY".key
    mkdir image
    # shellcheck disable=SC2086 # words
    ends 0 env PATH="$PWD/programs:$PATH" DESTDIR="$PWD/image" initdir="$PWD/image" moddir=. $words
    grep -qxF "$(p handover key)" image/etc/poisonctl/trusted-keys
    [ -s image/etc/poisonctl/handover ]
    [ -s image/etc/poisonctl/bounds ]
  done
}

@test "a replay that is told to end writes down what the kernel has said" {
  a_list
  # At the moment that the report is to take its name: the orders are given.
  ends 1 strace -qq -o /dev/null -e trace=renameat,renameat2,rename -e inject=renameat,renameat2,rename:signal=TERM \
    "$POISON_REPLAY" --sysroot "$MACHINE"
  output=$(report)
  same "$(json "it['orders']")" 10
  ends 1 early
  output=$(report)
  same "$(json "[r['state'] for r in it['ranges']]")" "['taken', 'already', 'failed']"
}
