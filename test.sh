#!/usr/bin/env bash
# Builds and checks everything, from the layout of the sources to real kernels under QEMU.
#
#   ./test.sh [--quick] [--jobs N]
#
#   --quick     leave out the tests that boot kernels or install packages (ctest labels qemu, package)
#   --jobs N    how much to do at a time (default: one job for each processor)
#
# Installs what is missing first. Stops at the first step that fails and says how to run it alone.
# What was done before and has not changed is not done again, apart from the tests themselves. The
# last lines are ctest's summary of all tests of the release build.
set -euo pipefail

readonly exit_usage=64

usage_error() {
  echo "test.sh: $*; usage: ./test.sh [--quick] [--jobs N]" >&2
  exit $exit_usage
}

quick=no
jobs=$(nproc)
while (($# > 0)); do
  case $1 in
    --quick) quick=yes ;;
    --jobs)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage_error "--jobs: expected a number from 1 on, got '${2:-}'"
      jobs=$2
      shift
      ;;
    -h | --help)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"
      exit 0
      ;;
    *) usage_error "there is no option '$1'" ;;
  esac
  shift
done
readonly quick jobs

cd "$(dirname "${BASH_SOURCE[0]}")"
export PYTHONDONTWRITEBYTECODE=1

# step NAME COMMAND...: runs it, with a heading and the time it took; ends the script if it fails.
step() {
  local name=$1 started=$SECONDS status=0
  shift
  printf '\n==> %s\n' "$name"
  "$@" || status=$?
  if ((status != 0)); then
    printf '\ntest.sh: the step "%s" failed (status %d).\n%s\n' "$name" "$status" \
      "To run it alone: $(how_alone "$@")" >&2
    exit 1
  fi
  printf '==> %s: done, %d s\n' "$name" $((SECONDS - started))
}

# A function of ours stands for a command that one can type.
how_alone() {
  case $1 in
    check_layout) echo "clang-format -i FILE (mends it), for each file named above" ;;
    check_with_cppcheck) echo "cppcheck as test.sh calls it in check_with_cppcheck" ;;
    check_scripts) echo "shellcheck FILE, for each file named above" ;;
    build) echo "cmake --preset $2 && cmake --build --preset $2" ;;
    run_fuzzers) echo "the last command above that starts with build/asan" ;;
    *) printf '%q ' "$@" ;;
  esac
}

# Not git ls-files: the sources may come from an archive.
our_files() {
  find . -path ./build -prune -o -path ./.git -prune -o -type f "$@" -print0
}

check_layout() {
  our_files '(' -name '*.cc' -o -name '*.h' -o -name '*.c' ')' |
    xargs -0 clang-format --dry-run -Werror
}

check_scripts() {
  {
    our_files '(' -name '*.sh' -o -name '*.bash' -o -path './packaging/debian/poisonctl*.p*' -o -name '*.config' -path './packaging/debian/*' ')'
    our_files ! -name '*.*' |
      xargs -0 awk 'FNR == 1 && /^#!.*[\/ ](ba|da)?sh( |$)/ { printf "%s%c", FILENAME, 0 } { nextfile }'
  } | xargs -0 shellcheck || return
  # bats runs each test in a subshell and sets $stderr there, which shellcheck does not know.
  our_files -name '*.bats' | xargs -0 -r shellcheck --exclude=SC2030,SC2031,SC2154
}

# registry, backends and cli; .ci/cppcheck.suppress has what it says and is not so.
check_with_cppcheck() {
  cppcheck -q -j "$jobs" --std=c++20 --language=c++ --enable=warning,performance --library=posix \
    --suppressions-list=.ci/cppcheck.suppress --suppress=internalAstError --suppress=unknownMacro \
    --error-exitcode=1 -I . registry backends cli
}

build() {
  cmake --preset "$1" -DBUILD_TESTING=ON && cmake --build --preset "$1" -j "$jobs"
}

# A short look with each fuzzer, the same inputs every time; tests/fuzz/README.md says how to look longer.
run_fuzzers() {
  local corpus name found fuzzer
  for corpus in tests/fuzz/corpus/*/; do
    name=$(basename "$corpus")
    # New inputs go into the first folder: it is not the corpus, and it is empty at the start.
    found=build/asan/found/$name
    fuzzer=("build/asan/tests/fuzz/poisonctl_fuzz_$name" -seed=1 -runs=20000 -max_total_time=30
      -print_funcs=0 -artifact_prefix="$found/" "$found" "$corpus")
    rm -rf "$found"
    mkdir -p "$found"
    echo "${fuzzer[*]}"
    "${fuzzer[@]}" >"$found.log" 2>&1 || {
      cat "$found.log"
      return 1
    }
  done
}

groups=(build test)
tests=(--label-exclude '^(qemu|package)$')
if [[ $quick == no ]]; then
  groups+=(package qemu)
  tests=()
fi

step "dependencies" packaging/dependencies/install.sh "${groups[@]}"
step "layout of the sources" check_layout
step "shell scripts" check_scripts
step "cppcheck" check_with_cppcheck
step "build with GCC" build release
step "build with clang and sanitizers" build asan
step "clang-tidy" .ci/clang-tidy.py --jobs "$jobs" build/asan
step "fuzzers" run_fuzzers
step "tests with sanitizers" \
  ctest --test-dir build/asan -j "$jobs" --no-tests=error --output-on-failure -LE '^(qemu|package)$'

# Last, so that its summary is what one sees. Of the other steps only the result counts here.
printf '\n==> all tests of the release build\n'
results=$PWD/build/release/Testing/results.xml
ctest --test-dir build/release -j "$jobs" --no-tests=error --output-on-failure \
  --output-junit "$results" "${tests[@]}" || {
  status=$?
  echo "test.sh: tests failed (status $status); to run them alone:" \
    "ctest --test-dir build/release --rerun-failed --output-on-failure" >&2
  exit 1
}
# ctest counts a skipped or disabled test as passed. We do not: it has shown nothing.
if grep -q '<skipped' "$results"; then
  echo "test.sh: tests were skipped or are disabled (see $results, <skipped>); every test has to run:" \
    "install what it misses, or remove the test" >&2
  exit 1
fi
