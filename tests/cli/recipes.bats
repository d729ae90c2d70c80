#!/usr/bin/env bats
# The recipes (packaging/doc/recipes.md): what they tell people to type is there.

load helpers

# The commands of poisonctl in the recipes, one a line, without what stands before and after them.
commands() {
  sed -n 's/^    //p' "$HERE/../../packaging/doc/recipes.md" | grep -o 'poisonctl [^|<>]*'
}

@test "each verb and each option of the recipes is in its help" {
  local line words word verb skip help checked=0
  while read -r line; do
    verb="" skip="" options=()
    read -ra words <<<"${line#poisonctl }"
    for word in "${words[@]}"; do
      if [[ -n $skip ]]; then
        skip=""
      elif [[ $word == --registry || $word == --sysroot ]]; then
        skip=yes
      elif [[ $word == --* ]]; then
        options+=("$word")
      elif [[ -z $verb ]]; then
        verb=$word
      fi
    done
    help=$("$POISONCTL" "$verb" --help) || { echo "in the recipes: $line" >&2; return 1; }
    for word in "${options[@]}"; do says "$help" "$word"; done
    checked=$((checked + 1))
  done < <(commands)
  [ "$checked" -ge 20 ]
}

@test "a list for a node without a disk is made by the machine that keeps its evidence" {
  p -q record 0x3400000
  p -q audit export -o "$BATS_TEST_TMPDIR/evidence.tar"
  p audit key >"$BATS_TEST_TMPDIR/node7.pem"
  local kept=$BATS_TEST_TMPDIR/node7.db
  ends 77 "$POISONCTL" --registry "$kept" audit import "$BATS_TEST_TMPDIR/evidence.tar"
  ends 0 "$POISONCTL" --registry "$kept" audit import "$BATS_TEST_TMPDIR/evidence.tar" \
    --key "$BATS_TEST_TMPDIR/node7.pem"
  ends 0 "$POISONCTL" --registry "$kept" --sysroot "$MACHINE" emit initrd -o "$BATS_TEST_TMPDIR/list.img"
  same "$(cpio -it --quiet <"$BATS_TEST_TMPDIR/list.img" | grep handover)" poisonctl/handover
  ends 0 "$POISONCTL" --registry "$kept" handover key
}
