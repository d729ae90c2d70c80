#!/usr/bin/env bats
# poisonctl metrics: understood by Prometheus' own tools in both of its text forms; the alerts and the
# dashboard ask for nothing that is not written.

load helpers

PACKAGING=$BATS_TEST_DIRNAME/../../packaging

# Every metric family and sample of $output, by the OpenMetrics parser of Prometheus' Python client.
# The python of the distribution, as its package is.
openmetrics() {
  printf '%s\n' "$output" | /usr/bin/python3 -c "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    assert family.documentation and family.samples, family
    for sample in family.samples:
        print(sample.name, ' '.join(f'{k}={v}' for k, v in sorted(sample.labels.items())), sample.value)
"
}

@test "metrics are sound in both text forms, and say what the registry knows" {
  python3 "$HERE/dmi.py" "$MACHINE" "A1:S\"1:0:32" "B1:S-2:32:64"
  fill
  run p -q verify
  run p -q replay
  ends 0 p metrics
  printf '%s\n' "$output" | promtool check metrics
  says "$(openmetrics)" "poisonctl_records state=in-use" "poisonctl_generation  11" \
    "poisonctl_replay_frames state=taken" "serial=S\"1" "poisonctl_node_faulty_bytes node=0" \
    "poisonctl_hardware_corrupted_bytes  20480" "poisonctl_registry_exists  1"
}

@test "metrics without a registry say that there is none" {
  ends 0 p metrics
  says "$(openmetrics)" "poisonctl_registry_exists  0" "poisonctl_records state=in-use 0"
}

@test "metrics never have a line for each frame" {
  fill
  p metrics | wc -l > "$BATS_TEST_TMPDIR/few"
  seq 0 3 16000 | awk '{printf "0x%x\n", $1 + 16}' > "$BATS_TEST_TMPDIR/frames"
  p -q collect pfn "$BATS_TEST_TMPDIR/frames"
  same "$(p metrics | wc -l)" "$(cat "$BATS_TEST_TMPDIR/few")"
}

@test "metrics -o replaces the file at once, readable for the collector" {
  fill
  file=$BATS_TEST_TMPDIR/poisonctl.prom
  echo old > "$file"
  before=$(stat -c %i "$file")
  ends 0 p metrics -o "$file"
  [ "$(stat -c %i "$file")" != "$before" ]
  same "$(stat -c %a "$file")" 644
  same "$(tail -n 1 "$file")" "# EOF"
  ends 73 p metrics -o "$BATS_TEST_TMPDIR/nowhere/file"
}

@test "the alerts are sound, and fire when they should" {
  ends 0 promtool check rules "$PACKAGING/prometheus/poisonctl.rules.yml"
  ends 0 promtool test rules "$PACKAGING/prometheus/poisonctl.rules.test.yml"
}

@test "alerts and dashboard ask only for metrics and states that are written" {
  python3 "$HERE/dmi.py" "$MACHINE" "A1:S-1:0:64"
  fill
  run p -q replay
  p metrics > "$BATS_TEST_TMPDIR/metrics"
  python3 - "$BATS_TEST_TMPDIR/metrics" "$PACKAGING/prometheus/poisonctl.rules.yml" \
    "$PACKAGING/grafana/poisonctl.json" << 'END'
import json
import re
import sys

written = open(sys.argv[1], encoding="utf-8").read()
names = set(re.findall(r"^(poisonctl_\w+)", written, re.M))
values = set(re.findall(r'\w+="([^"]*)"', written))
dashboard = json.load(open(sys.argv[3], encoding="utf-8"))
expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
expressions += re.findall(r"expr: (.*)", open(sys.argv[2], encoding="utf-8").read())
assert len(expressions) > 15
for expression in expressions:
    asked = re.findall(r"poisonctl_\w+", expression)
    assert asked and names.issuperset(asked), (expression, set(asked) - names)
    for label in re.findall(r'(?:state|severity)=~?"([^"]*)"', expression):
        assert values.issuperset(label.split("|")), (expression, label)
END
}

@test "the metrics units are sound" {
  unit=$BATS_TEST_TMPDIR/poisonctl-metrics.service
  sed "s#@CMAKE_INSTALL_FULL_SBINDIR@/poisonctl#$POISONCTL#" \
    "$PACKAGING/systemd/poisonctl-metrics.service.in" > "$unit"
  cp "$PACKAGING/systemd/poisonctl-metrics.timer" "$BATS_TEST_TMPDIR"
  ends 0 systemd-analyze verify --man=no "$unit" "$BATS_TEST_TMPDIR/poisonctl-metrics.timer"
}
