# bash completion for poisonctl. Verbs, options and what they take are read from 'poisonctl --help' and
# 'poisonctl VERB --help', so that they are those of the program; ranges from the registry, where one may read it.
# shellcheck shell=bash

# The verbs in the general help.
_poisonctl_verbs() {
  sed -n '/^Verbs$/,/^$/s/^  \([a-z][a-z-]*\).*/\1/p' <<<"$1"
}

# The long options in a help.
_poisonctl_options() {
  sed -n 's/^  \(-[A-Za-z] \[ \)\{0,1\}\(--[a-z][a-z-]*\).*/\2/p' <<<"$1"
}

# HELP OPTION: what it takes, as FILE or ue|ce; nothing for one that takes nothing.
_poisonctl_value() {
  sed -n "s/^  \(-[A-Za-z] \[ \)\{0,1\}$2\( \]\)\{0,1\}\( \[ --[a-z-]* \]\)\{0,1\} \([^ ][^ ]*\).*/\4/p" <<<"$1"
}

# HELP VERB: its synopsis without the options.
_poisonctl_arguments() {
  sed -n "1s/^Usage: poisonctl \[OPTION\.\.\.\] $2 \{0,1\}//p" <<<"$1" | sed 's/ *\[OPTION\.\.\.\]$//'
}

# SYNOPSIS POSITION: what can stand there, as _poisonctl_value says it.
_poisonctl_argument() {
  local synopsis=$1
  if [[ $synopsis =~ ^[a-z0-9-]+(\ |\|) || $synopsis =~ ^\[[a-z0-9-]+\| ]]; then
    # verify [FILE]|export|key: words, of which some take a file.
    if (($2 > 0)); then
      echo FILE
      return
    fi
    [[ $synopsis != \[* ]] || synopsis=${synopsis:1:-1}
    sed 's/ \[[^]]*\]//g; s/ FILE//g; s/ /|/g' <<<"$synopsis"
    return
  fi
  local -a words
  read -ra words <<<"$synopsis"
  local word=${words[$2]:-}
  # RANGE...: as many as one likes.
  [[ -n $word || ${#words[@]} == 0 || ${words[-1]} != *...* ]] || word=${words[-1]}
  word=${word//[\[\].]/}
  echo "${word%|-}"
}

# WHAT WORD PROGRAM...: sets COMPREPLY.
_poisonctl_reply() {
  local what=$1 word=$2 choices=""
  shift 2
  case $what in
    FILE | DIR)
      compopt -o filenames 2>/dev/null # fails outside of a completion
      local kind=-f
      [[ $what == FILE ]] || kind=-d
      mapfile -t COMPREPLY < <(compgen $kind -- "$word")
      return
      ;;
    RANGE) choices=$("$@" -q list --all 2>/dev/null | grep -o '0x[0-9a-f]*-0x[0-9a-f]*') ;;
    BACKEND) choices=$("$@" backends 2>/dev/null | sed '1d; s/ .*//') ;;
    SOURCE) choices=$("$@" collect --list 2>/dev/null | sed '1d; s/ .*//') ;;
    *\|*) choices=${what//|/ } ;;
    # A synopsis of one word.
    [a-z]*) choices=$what ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$word")
}

_poisonctl() {
  local -a program=("${COMP_WORDS[0]}")
  local help verb="" word=${COMP_WORDS[COMP_CWORD]} given value i position=0 waiting=""
  COMPREPLY=()
  help=$("${program[@]}" --help 2>/dev/null) || return
  for ((i = 1; i < COMP_CWORD; i++)); do
    given=${COMP_WORDS[i]}
    if [[ -n $waiting ]]; then
      # The registry and the machine that are meant.
      case $waiting in --registry | --sysroot) program+=("$waiting" "${given/#\~/$HOME}") ;; esac
      waiting=""
    elif [[ $given == -?* ]]; then
      value=$(_poisonctl_value "$help" "$given")
      [[ -z $value ]] || waiting=$given
    elif [[ -z $verb ]]; then
      verb=$given
      help=$("${COMP_WORDS[0]}" "$verb" --help 2>/dev/null) || return
    else
      position=$((position + 1))
    fi
  done
  if [[ -n $waiting ]]; then
    _poisonctl_reply "$value" "$word" "${program[@]}"
  elif [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_poisonctl_options "$help")" -- "$word")
  elif [[ -z $verb ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(_poisonctl_verbs "$help")" -- "$word")
  else
    _poisonctl_reply "$(_poisonctl_argument "$(_poisonctl_arguments "$help" "$verb")" $position)" "$word" \
      "${program[@]}"
  fi
}

complete -F _poisonctl poisonctl
