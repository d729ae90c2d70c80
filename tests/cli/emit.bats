#!/usr/bin/env bats
# poisonctl emit: the artifact and nothing else, on standard output or in a file that is whole.

load helpers

@test "emit e820 prints one line and nothing else" {
  p -q record 0x3400000 0x2800000+8K
  ends 0 p emit e820
  same "$output" "memmap=0x2000%0x2800000-1+5,0x1000%0x3400000-1+5"
  same "$stderr" ""
  same "$(p emit e820 | wc -l)" 1
}

@test "emit warns of what is not covered, and ends with 1" {
  p -q record 0x3400000 0x5000000
  ends 1 p emit e820
  same "$output" "memmap=0x1000%0x3400000-1+5"
  says "$stderr" "0x5000000-0x5000fff is not covered" "device memory"
  ends 1 p -q emit e820
  same "$stderr" ""
}

@test "emit of nothing to keep out is empty, so that --append takes it" {
  p -q record 0x3500000 --kind ce
  ends 0 p emit e820
  same "$output" ""
  same "$(p emit e820 | wc -c)" 0
}

@test "emit offline prints one address a line" {
  p -q record 0x3400000+8K
  ends 0 p emit offline
  same "$output" "$(printf '0x3400000\n0x3401000')"
}

@test "emit -o makes the file with mode 0644 and prints nothing" {
  p -q record 0x3400000
  (umask 077; p emit e820 -o "$BATS_TEST_TMPDIR/out")
  same "$(cat "$BATS_TEST_TMPDIR/out")" "memmap=0x1000%0x3400000-1+5"
  same "$(stat -c %a "$BATS_TEST_TMPDIR/out")" 644
  ends 0 p emit e820 --output "$BATS_TEST_TMPDIR/out"
  same "$output" ""
}

@test "emit -o replaces the file and leaves no other; an open reader keeps the old one" {
  p -q record 0x3400000
  mkdir "$BATS_TEST_TMPDIR/etc"
  echo old > "$BATS_TEST_TMPDIR/etc/out"
  exec 5< "$BATS_TEST_TMPDIR/etc/out"
  ends 0 p emit e820 -o "$BATS_TEST_TMPDIR/etc/out"
  same "$(cat <&5)" old
  exec 5<&-
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
}

@test "emit -o that fails leaves the file as it was and nothing beside it" {
  p -q record 0x3400000
  mkdir "$BATS_TEST_TMPDIR/etc"
  echo old > "$BATS_TEST_TMPDIR/etc/out"
  # SC2016: the inner shell expands.
  # shellcheck disable=SC2016
  ends 73 bash -c 'trap "" XFSZ; ulimit -f 0; exec "$@"' - "$POISONCTL" --sysroot "$MACHINE" \
    --registry "$REGISTRY" emit e820 -o "$BATS_TEST_TMPDIR/etc/out"
  same "$(cat "$BATS_TEST_TMPDIR/etc/out")" old
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/none/out"
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/etc"
  ends 73 p emit e820 -o "$BATS_TEST_TMPDIR/etc/"
  same "$(ls -A "$BATS_TEST_TMPDIR/etc")" out
}

@test "emit needs a backend that is here" {
  p -q record 0x3400000
  ends 64 p emit
  ends 64 p emit nothing
  rm -r "$MACHINE/sys/firmware"
  ends 69 p emit e820
  same "$output" ""
  says "$stderr" "sys/firmware/memmap is not there"
}

@test "what this boot leaves out already is emitted for the next" {
  p -q record 0x3400000 0x3800000
  local first
  first=$(p emit e820)
  echo "ro $first quiet" > "$MACHINE/proc/cmdline"
  sed -i 's/^00100000-03ffffff : System RAM/00100000-033fffff : System RAM\n03400000-03400fff : Unusable memory\n03401000-037fffff : System RAM\n03800000-03800fff : Unusable memory\n03801000-03ffffff : System RAM/' \
    "$MACHINE/proc/iomem"
  ends 0 p emit e820
  same "$output" "$first"
}

@test "--merge puts the option into a command line and touches nothing else of it" {
  p -q record 0x3400000
  local option=memmap=0x1000%0x3400000-1+5
  ends 0 p emit e820 --merge "$(printf 'ro  a="b  c"\tmemmap=0x1000%%0x9000000-1+5 memmap=4G!8G -- single')"
  same "$output" "$(printf 'ro  a="b  c" memmap=4G!8G %s -- single' "$option")"
  ends 0 p emit e820 --merge "$output"
  same "$output" "$(printf 'ro  a="b  c" memmap=4G!8G %s -- single' "$option")"
  printf 'root=/dev/sda1 ro\n' > "$BATS_TEST_TMPDIR/line"
  ends 0 p emit e820 --merge-file "$BATS_TEST_TMPDIR/line"
  same "$output" "root=/dev/sda1 ro $option"
  same "$(echo quiet | p emit e820 --merge-file -)" "quiet $option"
}

@test "--merge says what would void the option, and what else takes memory" {
  p -q record 0x3400000
  ends 65 p emit e820 --merge 'ro dyndbg="file a'
  same "$output" ""
  says "$stderr" "the command line, byte 10: a double quote without an end"
  ends 66 p emit e820 --merge-file "$BATS_TEST_TMPDIR/none"
  ends 65 p emit e820 --merge-file /dev/zero
  ends 64 p emit e820 --merge a --merge-file b
  # SC2016: no shell is to expand this.
  # shellcheck disable=SC2016
  ends 0 p -v emit e820 --merge 'memmap=exactmap memmap=1G@0 mem=512M memmap=10M\$1G memmap=what'
  # shellcheck disable=SC2016
  same "$output" 'memmap=exactmap memmap=1G@0 mem=512M memmap=10M\$1G memmap=what memmap=0x1000%0x3400000-1+5'
  says "$stderr" "memmap=exactmap throws the firmware's memory map away" "mem=512M is a limit" \
    "'10M\\\$1G' cannot be parsed, and the kernel takes the size in front for a limit" \
    "'what' has no size: the kernel ignores it"
}

@test "--reserve is quoted so that a shell and GRUB hand on the dollar" {
  p -q record 0x3400000
  ends 0 p emit e820 --reserve plain
  same "$output" "memmap=0x1000\$0x3400000"
  same "$(eval "printf %s $(p emit e820 --reserve shell)")" "memmap=0x1000\$0x3400000"
  # grub-mkconfig reads the value through a shell and writes it into grub.cfg, where \$ is a dollar.
  same "$(eval "printf %s \"$(p emit e820 --reserve grub-default)\"")" "$(p emit e820 --reserve grub)"
  same "$(p emit e820 --reserve grub)" "memmap=0x1000\\\$0x3400000"
  ends 64 p emit e820 --reserve lilo
  says "$stderr" "--reserve 'lilo': expected one of plain, shell, grub, grub-default"
  ends 64 p emit e820 --reserve shell --merge ro
}

@test "--widen joins neighbours only when the room is short, and tells what that costs" {
  # shellcheck disable=SC2046 # words are wanted
  p -q record $(for i in $(seq 100); do printf '0x%x ' $((0x3000000 + i * 8192)); done)
  ends 1 p emit e820
  ends 0 p -v emit e820 --widen 64K
  says "$stderr" "is healthy memory between bad frames (--widen): 100 ranges became"
  ends 0 p --json plan e820 --widen 64K
  same "$(json "(sum(r['size'] for r in it['backends'][0]['covered']), it['backends'][0]['refused'])")" \
    "(409600, [])"
  ends 64 p emit e820 --widen 4M
  ends 64 p emit e820 --widen x
  ends 64 p emit e820 --loader lilo
}

@test "the other forms read back as what they say" {
  p -q record 0x3400000 0x3402000 0x2800000+8K
  same "$(p emit e820 --form badram)" \
    'GRUB_BADRAM="0x2800000,0xffffffffffe000,0x3400000,0xffffffffffd000"'
  same "$(p emit e820 --form cutmem)" "$(printf 'cutmem %s\n' "0xa000K 0xa008K" \
    "0xd000K 0xd004K" "0xd008K 0xd00cK")"
  same "$(p emit e820 --form bcdedit)" \
    "bcdedit /set {badmemory} badmemorylist 0x2800 0x2801 0x3400 0x3402"
  ends 64 p emit e820 --form table
  p emit e820 --form table -o "$BATS_TEST_TMPDIR/table"
  p emit e820 --form setup-data -o "$BATS_TEST_TMPDIR/setup"
  python3 - "$BATS_TEST_TMPDIR" <<'END'
import struct, sys
bad = [(0x2800000, 0x2000, 5), (0x3400000, 0x1000, 5), (0x3402000, 0x1000, 5)]
with open(sys.argv[1] + "/setup", "rb") as file:
    following, kind, length = struct.unpack("<QII", file.read(16))
    data = file.read()
assert (following, kind, length) == (0, 1, len(data)), (following, kind, length)
assert list(struct.iter_unpack("<QQI", data)) == bad
with open(sys.argv[1] + "/table", "rb") as file:
    entries = list(struct.iter_unpack("<QQI", file.read()))
assert [entry for entry in entries if entry[2] == 5] == bad
whole = sorted((address, address + size) for address, size, kind in entries if kind in (1, 5))
joined = [list(whole[0])]
for begin, end in whole[1:]:
    if begin == joined[-1][1]:
        joined[-1][1] = end
    else:
        joined.append([begin, end])
assert joined == [[0, 0x9fc00], [0x100000, 0x4000000]], joined
assert [entry for entry in entries if entry[2] == 3] == [(0x4000000, 0x10000, 3)]
END
  ends 64 p emit e820 --form lilo
  says "$stderr" "--form 'lilo': expected one of badram, cutmem, bcdedit, table, setup-data"
  ends 64 p emit offline --form badram
  ends 64 p emit e820 --form table --merge ro
}

@test "what GRUB and Windows are given comes back through the sources that read them" {
  p -q record 0x3400000 0x3402000 0x2800000+8K
  local form
  for form in badram:badram cutmem:badram bcdedit:bcdedit; do
    p emit e820 --form "${form%:*}" > "$BATS_TEST_TMPDIR/out"
    rm -f "$REGISTRY.other"*
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY.other" -q collect "${form#*:}" \
      "$BATS_TEST_TMPDIR/out"
    same "$("$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY.other" emit e820)" "$(p emit e820)"
  done
}
