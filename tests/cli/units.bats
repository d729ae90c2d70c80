#!/usr/bin/env bats
# The units as systemd sees them: sound, and with no more power than they need.

load helpers

# The units of packaging/systemd, for the program under test, in $UNITS.
units() {
  UNITS=$BATS_TEST_TMPDIR/units
  mkdir "$UNITS"
  local file
  for file in "$HERE"/../../packaging/systemd/*.service.in; do
    sed "s#@CMAKE_INSTALL_FULL_SBINDIR@/poisonctl#$POISONCTL#" "$file" >"$UNITS/$(basename "$file" .in)"
  done
  cp "$HERE"/../../packaging/systemd/*.{path,timer} "$UNITS/"
}

@test "systemd has nothing to say about any unit" {
  units
  ends 0 systemd-analyze verify --man=no "$UNITS"/*
  # What systemd before 255 does not know is meant for later ones.
  # shellcheck disable=SC2154 # ends sets it
  same "$(grep poisonctl <<<"$output$stderr" | grep -v "'SurviveFinalKillSignal' in section")" ""
}

@test "each service is exposed less than 3.0, and can write /sys where that is its work" {
  units
  local unit
  for unit in "$UNITS"/*.service; do
    # In tenths: at most 2.9.
    ends 0 systemd-analyze security --no-pager --offline=yes --threshold=29 "$unit"
    says "$output" "Overall exposure level"
    [[ "$unit" == *-@(bmc|metrics).service ]] || ends 1 grep -q ^ProtectKernelTunables "$unit"
  done
}

@test "presets name each unit that can be enabled, once, and nothing else" {
  units
  local preset=$HERE/../../packaging/systemd/90-poisonctl.preset
  same "$(sed -n 's/^\(enable\|disable\) //p' "$preset" | sort)" \
    "$(cd "$UNITS" && grep -l '^\[Install\]' ./* | sed 's#^./##' | sort)"
}
