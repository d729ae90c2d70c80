#!/usr/bin/env bats
# poisonctl plan --shell: what a script gives to eval, and that nothing in it is run.

load helpers

@test "a script has the list, the ranges and the artifact after one eval" {
  p -q record 0x3400000 0x3800000+8K
  local shell
  shell=$(p plan --shell e820 offline)
  eval "$shell"
  same "$POISONCTL_BACKENDS $POISONCTL_STATUS" "e820 offline 0"
  same "$POISONCTL_E820_AVAILABLE: $POISONCTL_E820_REASON" "yes: the firmware's memory map has 3 entries"
  same "$POISONCTL_E820_ARTIFACT" "$(p emit e820)"
  same "$POISONCTL_E820_COVERED" "0x3400000+4096 0x3800000+8192"
  same "$POISONCTL_E820_COVERED_BYTES" 12288
  same "$POISONCTL_E820_REFUSED$POISONCTL_E820_REFUSED_REASONS" ""
  # One address a line: line ends are data.
  same "$POISONCTL_OFFLINE_ARTIFACT" "$(p emit offline)"
  same "$(wc -l <<<"$POISONCTL_OFFLINE_ARTIFACT")" 3
  same "$POISONCTL_GENERATION" "$(json_of it\[\'generation\'\] p --json plan e820)"
  # The ranges are arguments of other verbs.
  # shellcheck disable=SC2086 # words are wanted
  ends 0 p check $POISONCTL_E820_COVERED || ends 0 p show ${POISONCTL_E820_COVERED%% *}
}

# EXPRESSION COMMAND...: of the JSON that it prints.
json_of() {
  local expression=$1
  shift
  output=$("$@") && json "$expression"
}

@test "each variable is set for each backend, also for one that cannot be used" {
  p -q record 0x3400000
  local name part
  eval "$(p plan --shell)"
  same "$POISONCTL_BACKENDS" "e820 devicetree offline initrd kho reserve-mem"
  for name in E820 DEVICETREE OFFLINE INITRD KHO RESERVE_MEM; do
    for part in AVAILABLE REASON COVERED COVERED_BYTES REFUSED REFUSED_REASONS SIDE_EFFECTS ARTIFACT; do
      declare -p "POISONCTL_${name}_$part" >/dev/null
    done
  done
  same "$POISONCTL_DEVICETREE_AVAILABLE $POISONCTL_DEVICETREE_REFUSED" "no 0x3400000+4096"
  [[ -n "$POISONCTL_DEVICETREE_REASON" ]]
}

@test "what a machine or a command line holds is data, whatever a shell would make of it" {
  local hostile shell word
  cd "$BATS_TEST_TMPDIR"
  # shellcheck disable=SC2016 # nothing is to be expanded
  hostile=$'a\'; touch run1; \' $(touch run2) `touch run3` "; touch run4; " \\\'; touch run5 #'
  fill
  for word in bash sh; do
    shell=$(p plan --shell --merge "$hostile" e820) || [[ $? == 1 ]]
    # shellcheck disable=SC2016 # for that shell
    printf '%s\n' "$shell" 'printf %s "$POISONCTL_E820_ARTIFACT"' >script
    ends 0 "$word" script
    same "$output" "$(p -q emit e820 --merge "$hostile")"
    # shellcheck disable=SC2016 # the same
    ends 0 "$word" -c 'eval "$(cat script)"; printf %s "$POISONCTL_STATUS $POISONCTL_E820_REFUSED_REASONS"'
    says "$output" "1 0x"
  done
  # The name of a file becomes part of a reason.
  mv "$MACHINE" "$MACHINE'; touch run6; '"
  MACHINE+="'; touch run6; '"
  shell=$(p plan --shell) || [[ $? == 1 ]]
  eval "$shell"
  says "$POISONCTL_DEVICETREE_REASON" "'; touch run6; '/sys/firmware/fdt"
  same "$(find . -name 'run?')" ""
}

@test "nothing is printed when there is no plan, and --json is another form" {
  ends 66 p plan --shell
  same "$output" ""
  p -q record 0x3400000
  ends 64 p --json plan --shell
  says "$stderr" "--shell and --json"
}
