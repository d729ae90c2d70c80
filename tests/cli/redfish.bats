#!/usr/bin/env bats
# The BMC over Redfish: collect redfish and apply bmc against the service of tests/redfish, which
# fails in every way that it can.

# The values of a template are filled in by poisonctl.
# shellcheck disable=SC2016

load helpers

DOUBLE=$BATS_TEST_DIRNAME/../redfish
PASSWORD=s3cret-Of-The-BMC
LOG=/redfish/v1/Systems/1/LogServices/Log

setup_file() { "$DOUBLE/certificates.sh" "$BATS_FILE_TMPDIR"; }

teardown() {
  # No secret in anything that was left behind, whatever the test was about.
  ! grep -rlF --exclude=password "$PASSWORD" "$BATS_TEST_TMPDIR" || return 1
  if [ -n "${SERVICE_PID:-}" ]; then end_service; fi
}

# Whatever was asked of it, the service has lived until now.
end_service() {
  local pid=$SERVICE_PID
  unset SERVICE_PID
  end_job "$pid"
}

# [CERTIFICATE]: starts the service, and writes a configuration for it.
serve() {
  SERVICE=$BATS_TEST_TMPDIR/service
  mkdir -p "$SERVICE" "$MACHINE/etc/poisonctl"
  cp "$BATS_FILE_TMPDIR"/*.pem "$BATS_FILE_TMPDIR"/*.key "$SERVICE"
  python3 "$DOUBLE/service.py" "$SERVICE" "${1:-good}" 3>&- &
  SERVICE_PID=$!
  local _
  for _ in {1..100}; do
    [ ! -s "$SERVICE/port" ] || break
    sleep 0.1
  done
  URL=https://localhost:$(<"$SERVICE/port")
  cp "$SERVICE/ca.pem" "$MACHINE/etc/poisonctl/ca.pem"
  (umask 077 && echo "$PASSWORD" >"$MACHINE/etc/poisonctl/password")
  configure
}

# [LINE...]: the configuration, with these lines more.
configure() {
  printf '%s\n' "[redfish]" "url = $URL" "ca_file = /etc/poisonctl/ca.pem" "user = registrar" \
    "password_file = /etc/poisonctl/password" "timeout = 4" "$@" >"$MACHINE/etc/poisonctl/poisonctl.conf"
}

# JSON: what the service does from now on.
behave() {
  printf '%s' "$1" >"$SERVICE/behaviour.new"
  mv "$SERVICE/behaviour.new" "$SERVICE/behaviour.json"
}

# EXPRESSION: of what the service stored, as `it`.
stored() { python3 -c "import json, sys; it = json.load(open(sys.argv[1])); print(($1))" "$SERVICE/stored.json"; }
# PATTERN: how many requests fit.
requests() { grep -cE "$1" "$SERVICE/requests" || true; }
# How many notices of this way are in that state.
queued() { grep -c "^$2" "$REGISTRY.redfish-$1" || true; }
# How many are retired.
retired() { p apply bmc --dry-run | grep -c "would tell redfish $1"; }

@test "what the service logged and counted becomes evidence, over all pages, and once" {
  serve
  ends 0 p collect redfish
  says "$stderr" "$URL: " "recorded in" "of them without a place" "entry 5: DiagnosticData: 1 section"
  [[ "$stderr" != *"only as links"* ]]
  has_shape poisonctl/records-v1 p --json list --all
  says "$output" '"source": "redfish"' || says "$output" redfish
  # The records of the sample, by the same decoder as from a file.
  says "$(p list --all)" 0x2000000
  # Pages of two, members that are only links, a log that is listed twice and read once.
  [ "$(requests "^GET $LOG/Entries[?].*skip=[0-9]+ 200 token")" -ge 5 ]
  same "$(requests "^GET $LOG/Entries 200")" 1
  same "$(requests '^GET .*/Journal/Entries/[12] 200')" 2
  # Metrics, and an entry of type CXL that is a failure.
  ends 0 p audit export --format csv
  says "$output" "DIMM B1" "UncorrectableECCErrorCount=1" "CorrectableECCErrorCount=7" "Redfish CXL"
  [[ "$output" != *"DIMM A1"*"ECCErrorCount"* ]]
  # The session was ended.
  same "$(stored "it['sessions']")" 0
  same "$(requests '^DELETE /redfish/v1/SessionService/Sessions/[0-9a-f]+ 204')" 1
  ends 0 p collect redfish
  says "$stderr" "nothing new"
}

@test "without sessions Basic is used, and a session that ended begins again" {
  serve
  behave '{"sessions": false}'
  ends 0 p collect redfish
  same "$(requests ' token$')" 0
  [ "$(requests ' 200 basic$')" -gt 10 ]
  rm "$REGISTRY"
  behave '{"session_requests": 10}'
  ends 0 p collect redfish
  [ "$(requests '^POST .*/Sessions 201')" -ge 2 ]
  [ "$(requests '^GET .* 401')" -ge 1 ]
}

@test "a password that is wrong is tried once, and never shown" {
  serve
  echo "not-$PASSWORD" >"$MACHINE/etc/poisonctl/password"
  ends 71 p collect redfish
  says "$stderr" "user registrar is not let in" "password_file"
  [[ "$stderr" != *"$PASSWORD"* ]]
  same "$(requests '^POST')" 1
  [ ! -e "$REGISTRY" ]
  behave '{"sessions": false}'
  ends 71 p collect redfish
  [[ "$stderr" != *"$PASSWORD"* ]]
}

@test "the password file belongs to root and is nobody else's to read" {
  serve
  local file=$MACHINE/etc/poisonctl/password mode
  for mode in 640 604 700 620; do
    chmod "$mode" "$file"
    ends 77 p collect redfish
    says "$stderr" "$file" "mode $mode" "chmod 600"
  done
  chmod 600 "$file"
  : >"$file"
  ends 65 p collect redfish
  rm "$file"
  ends 66 p collect redfish
  # A link out of the machine that is looked at leads nowhere.
  echo "$PASSWORD" >"$BATS_TEST_TMPDIR/password"
  chmod 600 "$BATS_TEST_TMPDIR/password"
  ln -s "$BATS_TEST_TMPDIR/password" "$file"
  ends 66 p collect redfish
  same "$(requests '^POST')" 0
}

@test "a certificate that is not believed gets no password" {
  local certificate
  for certificate in wrong-name foreign expired; do
    serve "$certificate"
    ends 77 p collect redfish
    says "$stderr" "$URL" TLS "nothing was sent" ca_file
    [ ! -s "$SERVICE/requests" ]
    end_service
    rm -r "$SERVICE"
  done
  serve
  # The system's authorities do not know ours.
  sed -i /ca_file/d "$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 77 p collect redfish
  configure
  echo "no certificate" >"$MACHINE/etc/poisonctl/ca.pem"
  ends 65 p collect redfish
  says "$stderr" "expected certificates in PEM"
  [ ! -s "$SERVICE/requests" ]
}

@test "no environment variable changes what is done" {
  serve
  local trap=http://127.0.0.1:9 home=$BATS_TEST_TMPDIR/home
  mkdir "$home"
  printf 'machine localhost login other password other\n' >"$home/.netrc"
  # A provider without a single algorithm, in place of the default.
  printf 'openssl_conf = all\n[all]\nproviders = them\n[them]\nnull = none\n[none]\nactivate = 1\n' \
    >"$home/openssl.cnf"
  ends 0 env HOME="$home" https_proxy=$trap HTTPS_PROXY=$trap all_proxy=$trap ALL_PROXY=$trap \
    SSLKEYLOGFILE="$home/keys" OPENSSL_CONF="$home/openssl.cnf" OPENSSL_MODULES="$home" \
    CURL_SSL_BACKEND=none RES_OPTIONS=attempts:0 \
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" collect redfish
  [ ! -e "$home/keys" ]
  sed -i /ca_file/d "$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 77 env SSL_CERT_FILE="$SERVICE/ca.pem" SSL_CERT_DIR="$SERVICE" CURL_CA_BUNDLE="$SERVICE/ca.pem" \
    "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" collect redfish
}

@test "a service that is busy is asked again, when it says" {
  serve
  behave "{\"faults\": [{\"path\": \"/redfish/v1/Systems\", \"kind\": \"503\", \"retry_after\": \"2\", \"times\": 2},
                        {\"path\": \".*/Memory\", \"kind\": \"429\", \"times\": 1},
                        {\"path\": \"$LOG/Entries\", \"kind\": \"cut\", \"times\": 1}]}"
  SECONDS=0
  ends 0 p collect redfish
  [ "$SECONDS" -ge 4 ]
  behave '{"faults": [{"path": "/redfish/v1/Systems", "kind": "503", "retry_after": "3600", "times": 9}]}'
  SECONDS=0
  ends 75 p collect redfish
  says "$stderr" "HTTP status 503" "try again in 3600 s"
  [ "$SECONDS" -lt 3 ]
  behave '{"faults": [{"path": "/redfish/v1/Systems", "kind": "503", "times": 99}]}'
  : >"$SERVICE/requests"
  ends 75 p collect redfish
  same "$(requests '^GET /redfish/v1/Systems 503')" 3
}

@test "an answer that is no answer changes nothing" {
  serve
  local kind
  for kind in truncated content-type cut hang-up 500; do
    behave "{\"faults\": [{\"path\": \"$LOG/Entries\", \"kind\": \"$kind\", \"times\": 99}]}"
    run --separate-stderr p collect redfish
    case $kind in
      truncated | content-type) [ "$status" -eq 65 ] ;;
      *) [ "$status" -eq 74 ] ;;
    esac
    says "$stderr" "$URL$LOG/Entries"
    [ ! -e "$REGISTRY" ]
  done
  behave "{\"faults\": [{\"path\": \"$LOG/Entries\", \"kind\": \"endless\"}]}"
  ends 65 p collect redfish
  says "$stderr" "an answer of more than"
  [ ! -e "$REGISTRY" ]
}

@test "a service that drips is not waited for" {
  serve
  behave "{\"faults\": [{\"path\": \"/redfish/v1/\", \"kind\": \"drip\", \"times\": 99}]}"
  SECONDS=0
  ends 74 timeout 40 "$POISONCTL" --sysroot "$MACHINE" --registry "$REGISTRY" collect redfish
  says "$stderr" "no whole answer"
  [ "$SECONDS" -lt 25 ]
}

@test "redirects and links go to no other host" {
  serve
  behave '{"faults": [{"path": "/redfish/v1/Systems/1", "kind": "redirect", "to": "https://elsewhere.example/redfish/v1/Systems/1"}]}'
  ends 77 p collect redfish
  says "$stderr" "another host" elsewhere.example
  behave '{"faults": [{"path": "/redfish/v1/Systems/1", "kind": "redirect", "to": "http://localhost/redfish/v1/Systems/1"}]}'
  ends 77 p collect redfish
  behave '{"pages": "foreign"}'
  ends 77 p collect redfish
  says "$stderr" "another host"
  behave '{"pages": "loop"}'
  ends 65 p collect redfish
  says "$stderr" "its pages have no end"
  [ ! -e "$REGISTRY" ]
  # Inside, both are followed: the whole URL of the same service too.
  behave "{\"links_at\": \"$URL\", \"faults\": [{\"path\": \"$LOG/Entries\", \"kind\": \"redirect\", \"to\": \"$LOG/Entries?\$skip=0\"}]}"
  ends 0 p collect redfish
}

@test "the BMC of another machine is neither read nor told" {
  serve
  fill
  configure "entries = $LOG/Entries"
  behave '{"uuid": "11111111-2222-3333-4444-555555555555"}'
  cp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  ends 77 p collect redfish
  says "$stderr" "it is another machine's"
  cmp "$REGISTRY" "$BATS_TEST_TMPDIR/before"
  ends 77 p apply bmc
  same "$(stored "it['entries']")" "[]"
  # Firmware that has the first fields in the other byte order.
  behave '{"uuid": "99999999-8888-7777-6666-555555555555"}'
  ends 0 p collect redfish
  behave '{"uuid": ""}'
  ends 0 p collect redfish
  says "$stderr" "cannot be told"
}

@test "each retired frame is one entry in the log, with its key, and none is told twice" {
  serve
  fill
  python3 "$HERE/dmi.py" "$MACHINE" A1:S1:0:32 B1:S2:32:64
  configure "entries = $LOG/Entries"
  local all
  all=$(retired entries)
  [ "$all" -gt 1 ]
  ends 0 p apply bmc
  says "$output" "redfish entries: $all notices written, 0 there already, 0 kept for later"
  same "$(stored "len(it['entries'])")" "$all"
  says "$(stored "[e['Message'] for e in it['entries']]")" "Memory retired at 0x2800000, 4096 bytes, in B1" \
    "[poisonctl 0x2800000+0x1000 #0]"
  same "$(stored "{e['EntryType'] for e in it['entries']}")" "{'Oem'}"
  same "$(queued entries delivered)" "$all"
  ends 0 p apply bmc
  same "$output" "redfish entries: nothing to tell"
  # Not in the event log as well, which may be the same log.
  [ ! -e "$REGISTRY.bmc" ]
  # The queue was lost: what is in the log is found.
  rm "$REGISTRY.redfish-entries"
  ends 0 p apply bmc
  says "$output" "0 notices written, $all there already"
  same "$(stored "len(it['entries'])")" "$all"
  # Our own entries are not evidence.
  ends 0 p collect redfish
  [[ "$(p list --all)" != *"Memory retired"* ]]
}

@test "an entry that was stored and never answered is found, not written again" {
  serve
  fill
  configure "entries = $LOG/Entries"
  local all
  all=$(retired entries)
  behave "{\"faults\": [{\"method\": \"POST\", \"path\": \"$LOG/Entries\", \"kind\": \"cut-after\"}]}"
  ends 74 p apply bmc
  says "$stderr" "no whole answer" "kept in $REGISTRY.redfish-entries"
  same "$(stored "len(it['entries'])")" 1
  same "$(queued entries pending)" "$all"
  ends 1 p apply bmc
  says "$stderr" "the next attempt is made from"
  ends 0 p apply bmc --now
  says "$output" "$((all - 1)) notices written, 1 there already"
  same "$(stored "len(it['entries'])")" "$all"
  same "$(stored "len({e['Message'] for e in it['entries']})")" "$all"
}

# KIND STATUS: a service that fails so at the first entry; STATUS is what 'apply' ends with.
once_in_the_end() {
  local all first
  serve
  configure "entries = $LOG/Entries"
  all=$(retired entries)
  behave "{\"faults\": [{\"method\": \"POST\", \"path\": \"$LOG/Entries\", \"kind\": \"$1\", \"times\": 1}]}"
  run p apply bmc --now
  printf '%s: %s: %s\n' "$1" "$status" "$output"
  first=$status
  behave '{}'
  ends 0 p apply bmc --now
  same "$(stored "len(it['entries']), len({e['Message'] for e in it['entries']})")" "($all, $all)"
  same "$(queued entries delivered)" "$all"
  end_service
  rm -r "$SERVICE" "$REGISTRY.redfish-entries"
  same "$first" "$2"
}

@test "wherever the service fails, each notice is there once in the end" {
  fill
  once_in_the_end 429 0
  once_in_the_end 503 75
  once_in_the_end 500 74
  once_in_the_end hang-up 74
  once_in_the_end cut-after 74
}

@test "when the service says how long, the next attempt waits for that" {
  serve
  fill
  configure "entries = $LOG/Entries"
  behave "{\"faults\": [{\"method\": \"POST\", \"path\": \"$LOG/Entries\", \"kind\": \"503\", \"retry_after\": \"1800\", \"times\": 1}]}"
  ends 75 p apply bmc
  local wait
  wait=$(($(date -d "$(sed -n '2s/.* //p' "$REGISTRY.redfish-entries")" +%s) - $(date +%s)))
  [ "$wait" -gt 1700 ]
  [ "$wait" -le 1800 ]
}

@test "a log that takes no entries, or keeps nothing of them, is named" {
  serve
  fill
  configure "entries = $LOG/Entries"
  behave '{"insertable": false}'
  ends 69 p apply bmc
  says "$stderr" "takes no new entries here" "Allow: GET, HEAD"
  same "$(requests "^POST $LOG")" 0
  behave '{"keeps_messages": false}'
  ends 65 p apply bmc --now
  says "$stderr" "did not keep its message"
  same "$(stored "len(it['entries'])")" 1
}

@test "a vendor's action is sent once for each frame, and not without its DIMM" {
  serve
  fill
  configure 'retire = POST /redfish/v1/Systems/1/Memory/${dimm}/Actions/Oem/Vendor.Retire' \
    'retire_body = {"Address": "${address}", "Text": "${address_hex} of ${dimm}", "Bytes": "${size}"}'
  local all
  all=$(retired retire)
  # Nobody knows the modules.
  ends 1 p apply bmc
  says "$stderr" "names the DIMM"
  same "$(stored "it['actions']")" "[]"
  python3 "$HERE/dmi.py" "$MACHINE" A1:S1:0:32 "B 1:S2:32:128"
  rm "$REGISTRY.redfish-retire"
  ends 0 p apply bmc
  says "$output" "redfish retire: $all notices written"
  same "$(stored "len(it['actions'])")" "$all"
  says "$(stored "it['actions']")" "/Memory/B%201/Actions/Oem/Vendor.Retire" \
    "{'Address': 41943040, 'Bytes': 4096, 'Text': '0x2800000 of B 1'}"
  ends 0 p apply bmc
  same "$(stored "len(it['actions'])")" "$all"
}

@test "an action without an answer is not repeated by itself" {
  serve
  fill
  configure 'repair = POST /redfish/v1/Systems/1/Actions/Oem/Vendor.Repair' 'repair_body = {"Address": "${address}"}'
  local all
  all=$(retired repair)
  behave '{"faults": [{"method": "POST", "path": ".*Repair", "kind": "cut-after"}]}'
  ends 74 p apply bmc
  says "$stderr" "sent without an answer" "--resend"
  same "$(queued repair uncertain)" 1
  same "$(stored "len(it['actions'])")" 1
  ends 1 p apply bmc --now
  same "$(queued repair uncertain)" 1
  same "$(stored "len({a['body']['Address'] for a in it['actions']})")" "$all"
  same "$(stored "len(it['actions'])")" "$all"
  # What the service refused was surely not done, and is sent again.
  rm "$REGISTRY.redfish-repair"
  behave '{"faults": [{"method": "POST", "path": ".*Repair", "kind": "400"}]}'
  ends 74 p apply bmc
  says "$stderr" "HTTP status 400"
  same "$(queued repair uncertain)" 0
  # It kept the others from nothing.
  same "$(queued repair pending)" 1
  behave '{}'
  ends 0 p apply bmc --now
  same "$(stored "len(it['actions'])")" "$((2 * all))"
  # A person says so.
  sed -i '0,/^delivered/s//uncertain/' "$REGISTRY.redfish-repair"
  ends 1 p apply bmc
  same "$output" "redfish repair: nothing to tell"
  ends 0 p apply bmc --resend
  same "$(stored "len(it['actions'])")" "$((2 * all + 1))"
}

@test "a PATCH goes with the ETag of what it changes" {
  serve
  fill
  configure 'retire = PATCH /redfish/v1/Systems/1/Memory/DIMM1' 'retire_body = {"Oem": {"Vendor": {"Retire": "${address_hex}"}}}'
  local all
  all=$(retired retire)
  ends 0 p apply bmc
  same "$(stored "len(it['actions'])")" "$all"
  same "$(requests '^PATCH .* 200 token')" "$all"
}

@test "the configuration is checked before anything is sent" {
  serve
  ends 0 p config check
  says "$output" "[redfish] url" "$URL" "[redfish] timeout"
  [[ "$output" != *"$PASSWORD"* ]]
  local line
  while read -r line; do
    configure
    sed -i "/^${line%% *} =/d" "$MACHINE/etc/poisonctl/poisonctl.conf"
    printf '%s\n' "$line" >>"$MACHINE/etc/poisonctl/poisonctl.conf"
    ends 1 p config check
    says "$output" "[redfish] ${line%% *}: "
    ends 65 p collect redfish
  done <<'LINES'
url = http://localhost
url = https://user:secret@localhost
url = https://localhost/other
url = https://localhost:0
ca_file = ca.pem
password_file = ../password
user = a:b
timeout = 0
timeout = 601
entries = https://elsewhere.example/redfish/v1/Entries
entries = redfish/v1
retire = GET /redfish/v1
retire = POST redfish/v1
retire = POST /redfish/v1/${dim}
retire_body = {"Address": ${address}}
retire_body = {"Address": "${adress}"}
retire_body = []
repair_body = {"Address": "${address"}
LINES
  printf '[redfish]\nuser = registrar\n' >"$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 1 p config check
  says "$output" "line 2: [redfish]: url is missing"
  printf '[redfish]\nurl = %s\n' "$URL" >"$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 1 p config check
  says "$output" "user is missing"
  printf '' >"$MACHINE/etc/poisonctl/poisonctl.conf"
  ends 64 p collect redfish
  says "$stderr" "name the file to read" "[redfish]"
  [ ! -s "$SERVICE/requests" ]
}

@test "a process that knows the password leaves no core dump" {
  serve
  open_to_all
  [ "$(id -u)" -ne 0 ] || chown 65534 "$MACHINE/etc/poisonctl/password"
  behave '{"faults": [{"path": "/redfish/v1/", "kind": "drip", "times": 9}]}'
  as_user "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/none.db" collect redfish 2>/dev/null &
  local shell=$! pid _
  for _ in {1..100}; do
    [ ! -s "$SERVICE/requests" ] || break
    sleep 0.1
  done
  pid=$(pgrep -P "$shell")
  same "$(readlink "/proc/$pid/exe")" "$POISONCTL"
  # PR_SET_DUMPABLE(2const): then its files in /proc belong to root.
  same "$(stat -c %u "/proc/$pid/environ")" 0
  end_job "$shell" "$pid"
}

@test "the service of the tests is one that other clients understand" {
  serve
  # What of it is set here would count more than what we say.
  unset REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
  ends 0 /usr/bin/python3 - "$URL" "$SERVICE/ca.pem" "$PASSWORD" <<'CLIENT'
import sys

import sushy

url, authority, password = sys.argv[1:]
root = sushy.Sushy(url, username="registrar", password=password, verify=authority)
system = root.get_system("/redfish/v1/Systems/1")
print(root.redfish_version, system.uuid, [system.identity for system in root.get_system_collection().get_members()])
CLIENT
  says "$output" "1.18.0 99999999-8888-7777-6666-555555555555 ['1']"
  [ "$(requests '^GET /redfish/v1/Systems/1 200 token')" -ge 1 ]
  ends 0 redfishtool -r "${URL#https://}" -S Always -u registrar -p "$PASSWORD" -A Basic Systems -I 1
  says "$output" '"UUID": "99999999-8888-7777-6666-555555555555"'
  ends 0 redfishtool -r "${URL#https://}" -S Always -u registrar -p "$PASSWORD" -A Session \
    Systems -I 1 Logs -i Log --Entries
  says "$output" LogEntryCollection
  run redfishtool -r "${URL#https://}" -S Always -u registrar -p other -A Basic Systems -I 1
  [ "$status" -ne 0 ]
}
