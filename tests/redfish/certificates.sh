#!/usr/bin/env bash
# Makes certificates for service.py in FOLDER: ca.pem, which signs good, wrong-name and expired, and
# other-ca.pem, which signs foreign.
#
#   certificates.sh FOLDER
set -euo pipefail

cd "$1"

authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" \
    -keyout "$1.key" -out "$1.pem" 2>/dev/null
}

# NAME AUTHORITY SUBJECT-ALTERNATIVE-NAME [DATES...]
certificate() {
  local name=$1 by=$2 host=$3
  shift 3
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=bmc" \
    -keyout "$name.key" -out "$name.csr" 2>/dev/null
  printf 'subjectAltName = %s\n' "$host" >"$name.ext"
  mkdir -p "$name.ca"
  : >"$name.ca/index"
  printf '[ca]\ndefault_ca = us\n[us]\ndatabase = %s/index\nnew_certs_dir = %s\npolicy = any\nrand_serial = yes\n[any]\ncommonName = supplied\n' \
    "$name.ca" "$name.ca" >"$name.conf"
  openssl ca -batch -config "$name.conf" -cert "$by.pem" -keyfile "$by.key" -md sha256 -notext \
    -extfile "$name.ext" -in "$name.csr" -out "$name.pem" "$@" 2>/dev/null
}

authority ca "Test authority"
authority other-ca "Another authority"
certificate good ca DNS:localhost -days 30
certificate wrong-name ca DNS:other.example -days 30
certificate foreign other-ca DNS:localhost -days 30
certificate expired ca DNS:localhost -startdate 20200101000000Z -enddate 20200201000000Z
