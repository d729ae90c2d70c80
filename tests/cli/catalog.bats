#!/usr/bin/env bats
# What the journal says about its entries (journalctl -x): journalctl reads the catalog, and each entry
# that 'poisonctl watch' sends is in it.

load helpers

CATALOG=$BATS_TEST_DIRNAME/../../packaging/systemd/poisonctl.catalog

@test "journalctl takes the catalog, and lists each kind of event" {
  folder=$BATS_TEST_TMPDIR/root/usr/lib/systemd/catalog
  mkdir -p "$folder"
  cp "$CATALOG" "$folder"
  ends 0 journalctl --root="$BATS_TEST_TMPDIR/root" --update-catalog
  ends 0 journalctl --root="$BATS_TEST_TMPDIR/root" --list-catalog
  same "$(printf '%s\n' "$output" | awk '{print $1}' | sort)" \
    "$(grep -oE 'return "[0-9a-f]{32}"' "$HERE/../../cli/watcher.cc" | grep -oE '[0-9a-f]{32}' | sort)"
  same "$(printf '%s\n' "$output" | wc -l)" 6
}

@test "the catalog names only fields that are sent, and verbs that are there" {
  while read -r field; do
    grep -q "\"$field\"" "$HERE/../../cli/watcher.cc" || { echo "no field $field" >&2; return 1; }
  done < <(grep -oE '@[A-Z_]+@' "$CATALOG" | tr -d @ | sort -u)
  while read -r verb; do
    ends 0 p "$verb" --help
  done < <(grep -oE "(^  |')poisonctl [a-z]+" "$CATALOG" | awk '{print $2}' | sort -u)
}
