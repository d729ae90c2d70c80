#!/usr/bin/env bats
# Completion for bash and zsh: what they offer is what the program takes.

load helpers

COMPLETIONS=$BATS_TEST_DIRNAME/../../packaging/completions

# WORD...: what bash offers for the last of them, sorted, on one line.
bash_offers() {
  bash -c '
    . "$0"
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _poisonctl
    printf "%s\n" "${COMPREPLY[@]}"' "$COMPLETIONS/poisonctl.bash" "$POISONCTL" "$@" | sort | xargs
}

# The same of zsh, whose own functions it calls with what it found; zsh itself leaves out what does not begin like the word.
zsh_offers() {
  # shellcheck disable=SC2016 # for zsh
  zsh -fc '
    compadd() { shift; print -rl -- "$@" }
    _files() { print -r -- "_files $*" }
    words=("$POISONCTL" "$@") CURRENT=$(($# + 1))
    source "$0"' "$COMPLETIONS/_poisonctl" "$@" | sort | xargs
}

verbs() { sed -n 's/^extern const Verb k\([A-Za-z]*\)Verb;$/\L\1/p' "$HERE/../../cli/verb.h" | sort | xargs; }

# VERB: each option that the program says it has, in any column of its help.
options() { p "$1" --help | grep -o '^ *\(-[a-zA-Z] \[ \)\?--[a-z-]*' | grep -o -- '--.*' | sort | xargs; }

@test "all verbs are offered, and all options of each" {
  same "$(bash_offers "")" "$(verbs)"
  same "$(zsh_offers "")" "$(verbs)"
  local verb
  for verb in $(verbs); do
    says "$(options "$verb")" --json --registry
    same "$verb: $(bash_offers "$verb" --)" "$verb: $(options "$verb")"
    same "$verb: $(zsh_offers "$verb" --)" "$verb: $(options "$verb")"
  done
}

@test "what stands after a verb or an option is what the program takes there" {
  local words wanted
  while IFS='|' read -r words wanted; do
    eval "set -- $words"
    same "$words: $(bash_offers "$@")" "$words: $wanted"
    same "$words: $(zsh_offers "$@")" "$words: $wanted"
  done <<'END'
topology ""|diff show
config ""|bounds check
handover ""|check key make
audit ""|export import key verify
kho ""|hold inspect receive
apply ""|bmc cxl e820 reserve-mem
apply --dry-run ""|bmc cxl e820 reserve-mem
emit ""|devicetree e820 initrd kho offline reserve-mem
plan e820 ""|devicetree e820 initrd kho offline reserve-mem
plan --bounds frames=1 ""|devicetree e820 initrd kho offline reserve-mem
record --kind ""|ce ue
resolve --as ""|acquitted cleared repaired replaced
list ""|
status ""|
END
  same "$(bash_offers collect ra)" rasdaemon
  says "$(zsh_offers collect ra)" rasdaemon bcdedit
}

@test "files and folders where the program takes them" {
  cd "$BATS_TEST_TMPDIR"
  mkdir -p here/folder
  touch here/file
  same "$(bash_offers collect badram here/f)" "here/file here/folder"
  same "$(bash_offers report -o here/f)" "here/file here/folder"
  same "$(bash_offers report --output here/f)" "here/file here/folder"
  same "$(bash_offers kexec --kernel here/f)" "here/file here/folder"
  same "$(bash_offers config check here/f)" "here/file here/folder"
  same "$(bash_offers capture here/f)" here/folder
  same "$(bash_offers --sysroot here/f)" here/folder
  same "$(zsh_offers config check "")" "_files"
  same "$(zsh_offers --sysroot "")" "_files -/"
}

@test "ranges of the registry that is meant" {
  p -q record 0x3400000 0x3800000+8K
  local shell
  for shell in bash zsh; do
    same "$(${shell}_offers --sysroot "$MACHINE" --registry "$REGISTRY" resolve "")" \
      "0x3400000-0x3400fff 0x3800000-0x3801fff"
    same "$(${shell}_offers --registry "$BATS_TEST_TMPDIR/none" show "")" ""
  done
}

@test "bash knows it by the name of the program, and a zsh that somebody types into completes" {
  ln -s "$POISONCTL" "$BATS_TEST_TMPDIR/poisonctl"
  local typed
  typed="poisonctl topo$(printf '\t')sh$(printf '\t')--help"
  # shellcheck disable=SC2016 # for that bash
  ends 0 bash --norc -c '. "$0" && complete -p poisonctl' "$COMPLETIONS/poisonctl.bash"
  says "$output" "complete -F _poisonctl poisonctl"
  mkdir "$BATS_TEST_TMPDIR/functions"
  cp "$COMPLETIONS/_poisonctl" "$BATS_TEST_TMPDIR/functions/"
  # shellcheck disable=SC2016 # for zsh
  PATH=$BATS_TEST_TMPDIR:$PATH ends 0 timeout 60 zsh -fc '
    zmodload zsh/zpty
    zpty shell zsh -f -i
    zpty -w shell "PS1=; fpath=($0 \$fpath); autoload -Uz compinit; compinit -u -D; preexec() { print -r RUN: \$1 }; print re\"\"ady"
    zpty -r shell reply "*ready*"
    zpty -w -n shell "$1"
    zpty -w shell " >/dev/null; print do\"\"ne"
    zpty -r shell reply "*done*"
    print -r -- "$reply"' "$BATS_TEST_TMPDIR/functions" "$typed"
  says "$output" "RUN: poisonctl topology show --help "
}
