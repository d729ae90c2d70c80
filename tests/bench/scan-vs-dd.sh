#!/bin/sh
# Is the scan of /proc/kpageflags as fast as the kernel can tell? Reads the same span with dd and
# with the scan, in turns, so that what disturbs one disturbs all. Needs root.
set -eu

usage() {
  echo "usage: $0 POISONCTL_BENCH [REPETITIONS]" >&2
  exit 64
}
if [ $# -lt 1 ] || [ $# -gt 2 ]; then usage; fi
bench=$1
repetitions=${2:-7}
case $repetitions in '' | *[!0-9]* | 0) usage ;; esac
[ -x "$bench" ] || usage
[ -r /proc/kpageflags ] || { echo "$0: /proc/kpageflags cannot be read: run as root" >&2; exit 71; }

results=$(mktemp)
trap 'rm -f "$results"' EXIT

# A line of results: NAME BYTES SECONDS.
run_dd() {
  LC_ALL=C dd if=/proc/kpageflags bs=1M of=/dev/null 2>&1 |
    awk '/copied/ {for (i = 1; i <= NF; ++i) if ($i == "s,") print "dd", $1, $(i - 1)}' >>"$results"
}

# JSON, because the CSV form rounds counters to six digits.
run_scan() {
  "$bench" --benchmark_filter="$2" --benchmark_format=json 2>/dev/null | tr -d '",' |
    awk -v name="$1" '
      $1 == "real_time:" {seconds = $2 / 1000}
      $1 == "bytes_read:" {printf "%s %.0f %s\n", name, $2, seconds}' >>"$results"
}

echo "machine: $(awk -F': ' '/^model name/ {print $2; exit}' /proc/cpuinfo), $(nproc) CPUs," \
  "$(awk '/^MemTotal/ {printf "%.1f GiB", $2 / 1048576}' /proc/meminfo), Linux $(uname -r)"
echo "$repetitions repetitions of each, in turns"
i=0
while [ "$i" -lt "$repetitions" ]; do
  run_dd
  run_scan scan-1-thread 'ScanSpan.*threads:1/'
  run_scan scan-2-threads 'ScanSpan.*threads:2/'
  run_scan scan-ram-1-thread 'ScanRam.*threads:1/'
  i=$((i + 1))
done

# Every measurement must be there: a scan that failed is no fast scan.
expected=$((4 * repetitions))
[ "$(wc -l <"$results")" -eq "$expected" ] ||
  { echo "$0: $(wc -l <"$results") measurements of $expected" >&2; exit 74; }

sort -k1,1 -k3,3g "$results" | awk '
  {n = ++count[$1]; bytes[$1] = $2; seconds[$1, n] = $3}
  function median(name) {
    n = count[name]
    return n % 2 ? seconds[name, (n + 1) / 2] : (seconds[name, n / 2] + seconds[name, n / 2 + 1]) / 2
  }
  END {
    split("dd scan-1-thread scan-2-threads scan-ram-1-thread", names, " ")
    base = bytes["dd"] / median("dd")
    printf "%-18s %12s %10s %10s %10s %10s %9s %7s\n", "", "bytes read", "min s", "median s",
           "max s", "MB/s", "ns/frame", "vs dd"
    for (i = 1; i in names; ++i) {
      name = names[i]
      rate = bytes[name] / median(name)
      printf "%-18s %12d %10.4f %10.4f %10.4f %10.1f %9.2f %7.2f\n", name, bytes[name],
             seconds[name, 1], median(name), seconds[name, count[name]], rate / 1e6, 8e9 / rate,
             rate / base
    }
    print "vs dd: median throughput over that of dd. dd and the scans read holes too, scan-ram does not."
  }'
