#!/usr/bin/env bats
# audit export, verify FILE, import and key: the log in one signed file, and what others can tell
# from it, with poisonctl and without.

load helpers

# A bundle of the registry of this test, unpacked beside it.
bundle() {
  BUNDLE=$BATS_TEST_TMPDIR/bundle.tar
  p -q audit export -o "$BUNDLE" "$@"
  rm -rf "$BATS_TEST_TMPDIR/unpacked"
  mkdir "$BATS_TEST_TMPDIR/unpacked"
  tar -C "$BATS_TEST_TMPDIR/unpacked" -xf "$BUNDLE"
}

# A machine with SMBIOS tables, and records with every kind of line.
fill_all() {
  python3 "$HERE/dmi.py" "$MACHINE" A1:SN-0001-A:0:32 B1:SN-0002-B:32:64
  fill
  p -q resolve 0x2800000 --as replaced --reason "new DIMM in A1, ticket 4711"
  printf 'address,kind,label,note\n0x3900000,ue,DIMM_B1,"host-7: \xe2\x80\xae =1+1"\n' \
    > "$BATS_TEST_TMPDIR/errors.csv"
  p -q collect csv "$BATS_TEST_TMPDIR/errors.csv"
}

# A CA and a certificate of an administrator, in $BATS_TEST_TMPDIR.
make_ca() {
  cd "$BATS_TEST_TMPDIR" || return 1
  openssl req -x509 -newkey rsa:2048 -nodes -days 36500 -subj "/CN=Test CA" \
    -keyout ca.key -out ca.pem 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj "/CN=Admin of Memory" -keyout admin.key \
    -out admin.csr 2>/dev/null
  openssl x509 -req -in admin.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 36500 \
    -out admin.pem 2>/dev/null
  chmod 600 admin.key
  cd - > /dev/null || return 1
}

@test "a bundle is checked by whoever has the public key, without the registry" {
  fill_all
  bundle
  p audit key > "$BATS_TEST_TMPDIR/key.pem"
  ends 0 "$POISONCTL" audit verify "$BUNDLE" --key "$BATS_TEST_TMPDIR/key.pem"
  says "$output" "as they were signed with the key"
  ends 0 p audit verify "$BUNDLE"
  p handover key > "$BATS_TEST_TMPDIR/trusted-keys"
  ends 0 "$POISONCTL" audit verify "$BUNDLE" --key "$BATS_TEST_TMPDIR/trusted-keys"
  ends 1 "$POISONCTL" --registry "$BATS_TEST_TMPDIR/none" --sysroot "$MACHINE" audit verify "$BUNDLE"
  says "$output" "which is none that is trusted here"
  p --json audit verify > "$BATS_TEST_TMPDIR/audit"
  same "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["head"])' "$BATS_TEST_TMPDIR/audit")" \
    "$(python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))["head"]["hash"])' "$BATS_TEST_TMPDIR/unpacked/bundle.json")"
}

@test "sha256sum and openssl are enough to check a bundle" {
  fill_all
  make_ca
  bundle --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/admin.key"
  cd "$BATS_TEST_TMPDIR/unpacked"
  ends 0 sha256sum --quiet --check --strict MANIFEST
  same "$(cut -d' ' -f3 MANIFEST | sort)" "$(find . -type f ! -name 'MANIFEST*' | sed 's#^\./##' | sort)"
  cat MANIFEST MANIFEST.p7s > signed
  p audit key > key.pem
  cmp key.pem public-key.pem
  ends 0 openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile MANIFEST.sig
  ends 0 openssl cms -verify -binary -inform DER -in MANIFEST.p7s -content MANIFEST \
    -CAfile ../ca.pem -purpose any -no_check_time -out /dev/null
  printf 'x' >> signed
  ends 1 openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in signed -sigfile MANIFEST.sig
}

@test "a bundle is checked with a CA alone, and names who signed" {
  fill_all
  make_ca
  bundle --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/admin.key"
  ends 0 "$POISONCTL" audit verify "$BUNDLE" --ca "$BATS_TEST_TMPDIR/ca.pem"
  says "$output" "as they were signed with CN=Admin of Memory"
  cp "$BUNDLE" "$BATS_TEST_TMPDIR/first"
  bundle --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/admin.key"
  cmp "$BUNDLE" "$BATS_TEST_TMPDIR/first"
  # Another CA of the same name.
  openssl req -x509 -newkey rsa:2048 -nodes -subj "/CN=Test CA" \
    -keyout /dev/null -out "$BATS_TEST_TMPDIR/other.pem" 2>/dev/null
  ends 1 "$POISONCTL" audit verify "$BUNDLE" --ca "$BATS_TEST_TMPDIR/other.pem"
  says "$output" "MANIFEST.p7s: is no signature of MANIFEST by a certificate of that CA"
  # A certificate and a key that do not belong together.
  ends 65 p audit export -o "$BUNDLE" --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/ca.key"
  chmod 644 "$BATS_TEST_TMPDIR/admin.key"
  ends 77 p audit export -o "$BUNDLE" --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/admin.key"
  says "$stderr" "others than its owner may use it"
}

# Once a certificate was checked for the time of the newest entry, which is before a new one began.
@test "a certificate that is younger than the log, or has ended, has signed all the same" {
  p -q record 0x3400000
  sleep 1
  make_ca
  cd "$BATS_TEST_TMPDIR"
  openssl x509 -req -in admin.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 0 -out admin.pem 2>/dev/null
  sleep 1
  bundle --cert admin.pem --cert-key admin.key
  ends 0 "$POISONCTL" audit verify "$BUNDLE" --ca ca.pem
}

@test "no byte of either signature can be changed, whoever checks it" {
  p -q record 0x3400000
  make_ca
  bundle --cert "$BATS_TEST_TMPDIR/admin.pem" --cert-key "$BATS_TEST_TMPDIR/admin.key"
  p audit key > "$BATS_TEST_TMPDIR/key.pem"
  python3 - "$POISONCTL" "$BUNDLE" "$BATS_TEST_TMPDIR" <<'END'
import subprocess, sys, tarfile
program, bundle, folder = sys.argv[1:]
data = bytearray(open(bundle, "rb").read())
with tarfile.open(bundle) as tar:
    members = [(m.offset_data, m.size) for m in tar if m.name in ("MANIFEST.p7s", "MANIFEST.sig")]
assert len(members) == 2
for start, size in members:
    for at in range(start, start + size, 23):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        open(f"{folder}/changed", "wb").write(changed)
        for words in (["--ca", f"{folder}/ca.pem"], ["--key", f"{folder}/key.pem"]):
            done = subprocess.run([program, "audit", "verify", f"{folder}/changed", *words],
                                  capture_output=True)
            if done.returncode != 1:
                sys.exit(f"byte {at}, {words[0]}: {done.returncode} {done.stdout.decode()}")
END
}

@test "the same registry gives the same bundle, and whoever looks on does not change it" {
  fill_all
  bundle
  cp "$BUNDLE" "$BATS_TEST_TMPDIR/first"
  p -q list > /dev/null
  p -q audit verify > /dev/null
  bundle
  cmp "$BUNDLE" "$BATS_TEST_TMPDIR/first"
  same "$(stat -c %a "$BUNDLE")" 640
}

@test "audit verify names what was done to a bundle" {
  p -q record 0x3400000 --note one
  p -q record 0x3500000 --note two
  p -q record 0x3600000 --note three
  bundle
  python3 - "$BUNDLE" "$BATS_TEST_TMPDIR" <<'END'
import hashlib, io, sys, tarfile
bundle, folder = sys.argv[1:]
with tarfile.open(bundle) as tar:
    members = [(m.name, tar.extractfile(m).read()) for m in tar]
def write(name, members, seal=True):
    if seal:
        manifest = "".join(f"{hashlib.sha256(c).hexdigest()}  {n}\n" for n, c in members
                           if not n.startswith("MANIFEST")).encode()
        members = [(n, manifest if n == "MANIFEST" else c) for n, c in members]
    with open(f"{folder}/{name}", "wb") as out:
        for n, c in members:
            info = tarfile.TarInfo(n)
            info.size, info.mode = len(c), 0o644
            head = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
            # Device numbers are no part of what poisonctl writes.
            head[329:345] = bytes(16)
            head[148:156] = b"        "
            head[148:156] = b"%06o\0 " % sum(head)
            out.write(head + c + bytes(-len(c) % 512))
        out.write(bytes(1024))
def edit(change, name="log/000001.ndjson"):
    return [(n, change(c) if n == name else c) for n, c in members]
write("same", members, seal=False)
lines = dict(members)["log/000001.ndjson"].splitlines(True)
write("line", edit(lambda c: c.replace(b'"two"', b'"TWO"')))
write("unsealed", edit(lambda c: c.replace(b'"two"', b'"TWO"')), seal=False)
write("dropped", edit(lambda c: b"".join(lines[:2] + lines[4:])))
write("moved", edit(lambda c: b"".join(lines[2:4] + lines[:2] + lines[4:])))
write("cut", edit(lambda c: b"".join(lines[:4])))
write("clock", edit(lambda c: lines[0].replace(b'"time":"20', b'"time":"21') + b"".join(lines[1:])))
write("signature", [(n, c[::-1] if n == "MANIFEST.sig" else c) for n, c in members])
write("lost", [(n, c) for n, c in members if n != "records/000001.ndjson"])
data = open(bundle, "rb").read()
open(f"{folder}/short", "wb").write(data[:-700])
open(f"{folder}/long", "wb").write(data + b"x")
open(f"{folder}/header", "wb").write(data[:300] + b"x" + data[301:])
END
  cmp "$BUNDLE" "$BATS_TEST_TMPDIR/same"
  local file what
  while IFS='|' read -r file what; do
    ends 1 p audit verify "$BATS_TEST_TMPDIR/$file"
    says "$output" "$what"
  done <<'END'
line|log/000001.ndjson:4: entry 2 does not fit
unsealed|log/000001.ndjson was changed
dropped|log/000001.ndjson:4: expected entry 2, found entry 3
moved|log/000001.ndjson:2: expected entry 1, found entry 2
cut|the log ends at entry 2
clock|import 1 does not fit its digest
signature|MANIFEST.sig: does not fit
lost|MANIFEST.sig: does not fit
short|the file ends inside
long|no byte behind them
END
  ends 65 p audit verify "$BATS_TEST_TMPDIR/header"
  says "$stderr" "offset 0" "expected a bundle"
  ends 65 p audit verify "$REGISTRY"
  ends 66 p audit verify "$BATS_TEST_TMPDIR/nothing"
}

@test "a filter leaves the rest checkable" {
  fill_all
  bundle --dimm DIMM_B1
  ends 0 p audit verify "$BUNDLE"
  says "$output" "1 entry of" "left out by a filter: "
  same "$(grep -c '"type":"event"' "$BATS_TEST_TMPDIR/unpacked/log/000001.ndjson")" 1
  bundle --range 0x2800000
  ends 0 p audit verify "$BUNDLE"
  same "$(grep -o '"kind":"[a-z]*"' "$BATS_TEST_TMPDIR/unpacked/log/000001.ndjson" | sort -u | tr '\n' ' ')" \
    '"kind":"outcome" "kind":"poisoned" "kind":"resolution" "kind":"ue" '
  bundle --since 2200-01-01T00:00:00Z
  ends 0 p audit verify "$BUNDLE"
  says "$output" "0 entries of"
  bundle --until 2200-01-01T00:00:00Z
  ends 0 p audit verify "$BUNDLE"
  ends 64 p audit export -o "$BUNDLE" --since yesterday
  says "$stderr" "--since 'yesterday': expected a time"
}

@test "a redacted bundle does not name the host, and its chain holds" {
  fill_all
  p -q record 0x3a00000 --note "module $(cat "$MACHINE/etc/machine-id")"
  bundle
  local head
  head=$(cut -d, -f4- "$BATS_TEST_TMPDIR/unpacked/bundle.json" | grep -o '"hash":"[0-9a-f]*"')
  mkdir "$BATS_TEST_TMPDIR/names"
  # Whatever the whole bundle says of the host, as text.
  python3 - "$BATS_TEST_TMPDIR/unpacked" > "$BATS_TEST_TMPDIR/names/list" <<'END'
import json, pathlib, sys
names = set()
for path in pathlib.Path(sys.argv[1], "log").iterdir():
    for line in path.read_text().splitlines():
        it = json.loads(line)
        if it["type"] == "import":
            names |= {it[k] for k in ("boot_id", "host_id", "product_uuid", "product_serial", "origin")}
for path in pathlib.Path(sys.argv[1], "topology").iterdir():
    for line in path.read_text().splitlines():
        words = line.split("\t")
        if words[0] == "system":
            names |= set(words[1:])
        if words[0] == "module":
            names.add(words[3])
print("\n".join(sorted(name for name in names if name)))
END
  [ -s "$BATS_TEST_TMPDIR/names/list" ]
  echo host-7 >> "$BATS_TEST_TMPDIR/names/list"
  grep -qaF -f "$BATS_TEST_TMPDIR/names/list" "$BUNDLE"
  bundle --redact
  ends 1 grep -aF -f "$BATS_TEST_TMPDIR/names/list" "$BUNDLE"
  ends 0 p audit verify "$BUNDLE"
  says "$output" "2 entries have texts replaced"
  grep -qF "$head" "$BATS_TEST_TMPDIR/unpacked/bundle.json"
  # The same host has the same name in the next one.
  cp "$BATS_TEST_TMPDIR/unpacked/log/000001.ndjson" "$BATS_TEST_TMPDIR/before"
  p -q record 0x3b00000
  bundle --redact
  diff "$BATS_TEST_TMPDIR/before" \
    <(head -n "$(wc -l < "$BATS_TEST_TMPDIR/before")" "$BATS_TEST_TMPDIR/unpacked/log/000001.ndjson")
  ends 77 "$POISONCTL" --sysroot "$MACHINE" --registry "$BATS_TEST_TMPDIR/other.db" audit import "$BUNDLE" \
    --key "$BATS_TEST_TMPDIR/unpacked/public-key.pem"
  says "$stderr" "has only a part of its log"
}

@test "a bundle becomes a registry elsewhere, whose bundle is the same" {
  fill_all
  bundle
  mv "$BATS_TEST_TMPDIR/unpacked" "$BATS_TEST_TMPDIR/first"
  p audit key > "$BATS_TEST_TMPDIR/key.pem"
  local first=$REGISTRY
  REGISTRY=$BATS_TEST_TMPDIR/elsewhere.db
  ends 0 p audit import "$BUNDLE" --key "$BATS_TEST_TMPDIR/key.pem"
  ends 0 p audit verify
  ends 0 p rebuild --check
  same "$(p --json list)" "$(REGISTRY=$first p --json list)"
  bundle
  rm "$BATS_TEST_TMPDIR"/{first,unpacked}/{MANIFEST,MANIFEST.sig,public-key.pem}
  # The key is another, and is named.
  sed -i 's/"public_key":"[0-9a-f]*"//' "$BATS_TEST_TMPDIR"/{first,unpacked}/bundle.json
  diff -r "$BATS_TEST_TMPDIR/first" "$BATS_TEST_TMPDIR/unpacked"
  ends 73 p audit import "$BUNDLE"
  says "$stderr" "is there already"
}

@test "what cannot be believed is not imported" {
  p -q record 0x3400000
  bundle
  local file=$BUNDLE
  REGISTRY=$BATS_TEST_TMPDIR/elsewhere.db
  ends 77 p audit import "$file"
  says "$stderr" "not imported: it is signed with the key"
  [ ! -e "$REGISTRY" ]
}

@test "a log that is not what was written is not signed" {
  p -q record 0x3400000
  p -q record 0x3500000
  p -q audit export -o "$BATS_TEST_TMPDIR/good"
  cp "$BATS_TEST_TMPDIR/good" "$BATS_TEST_TMPDIR/out"
  sqlite3 "$REGISTRY" "UPDATE event SET evidence = 'forged' WHERE id = 1"
  ends 65 p audit export -o "$BATS_TEST_TMPDIR/out"
  says "$stderr" "entry 1 does not fit"
  sqlite3 "$REGISTRY" "DELETE FROM event WHERE id = 2"
  ends 65 p audit export -o "$BATS_TEST_TMPDIR/out"
  says "$stderr" "not the one that its checkpoint knew"
  cmp "$BATS_TEST_TMPDIR/good" "$BATS_TEST_TMPDIR/out"
  same "$(find "$BATS_TEST_TMPDIR" -name 'out*' | wc -l)" 1
}

@test "every object of a bundle fits its published schema" {
  fill_all
  ends 1 p -q verify
  local options
  for options in "" "--redact" "--dimm DIMM_B1"; do
    # shellcheck disable=SC2086 # words
    bundle $options
    local folder=$BATS_TEST_TMPDIR/unpacked
    ends 0 python3 "$HERE/schema_check.py" bundle-v1 "$folder/bundle.json"
    ends 0 python3 "$HERE/schema_check.py" policy-v1 "$folder/policy.json"
    ends 0 python3 "$HERE/schema_check.py" --lines log-line-v1 "$folder/log/000001.ndjson"
    ends 0 python3 "$HERE/schema_check.py" --lines record-line-v1 "$folder/records/000001.ndjson"
    p --json audit verify "$BUNDLE" > "$BATS_TEST_TMPDIR/check.json"
    ends 0 python3 "$HERE/schema_check.py" bundle-check-v1 "$BATS_TEST_TMPDIR/check.json"
  done
  p --json audit verify > "$BATS_TEST_TMPDIR/audit.json"
  ends 0 python3 "$HERE/schema_check.py" audit-v1 "$BATS_TEST_TMPDIR/audit.json"
  sed -i 's/"kind":"ue"/"kind":"bad"/' "$folder/log/000001.ndjson"
  ends 1 python3 "$HERE/schema_check.py" --lines log-line-v1 "$folder/log/000001.ndjson"
}

@test "hostile texts stay exact in a bundle and cannot move a cursor" {
  p -q record 0x3400000 --note $'\e[2J<script>\xe2\x80\xae\r\n=cmd()\xff\xfe'
  p -q record 0x3500000 --note "$(head -c 16384 /dev/zero | tr '\0' '\a')"
  bundle
  ends 0 p audit verify "$BUNDLE"
  ends 1 env LC_ALL=C grep -q '[^ -~]' "$BATS_TEST_TMPDIR/unpacked/log/000001.ndjson"
  REGISTRY=$BATS_TEST_TMPDIR/elsewhere.db
  ends 0 p audit import "$BUNDLE" --key "$BATS_TEST_TMPDIR/unpacked/public-key.pem"
  same "$(sqlite3 "$REGISTRY" "SELECT hex(evidence) FROM event WHERE id = 1")" \
    "$(sqlite3 "$BATS_TEST_TMPDIR/registry.db" "SELECT hex(evidence) FROM event WHERE id = 1")"
}

@test "an empty registry has a bundle too" {
  p -q record 0x3400000
  sqlite3 "$REGISTRY" "DELETE FROM event; DELETE FROM import; DELETE FROM record"
  rm "$REGISTRY.head"
  bundle
  ends 0 p audit verify "$BUNDLE"
  says "$output" "0 entries of 0"
}

@test "audit says what it takes" {
  p -q record 0x3400000
  ends 64 p audit export
  says "$stderr" "-o FILE is needed"
  ends 64 p audit export -o "$BATS_TEST_TMPDIR/out" --cert "$BATS_TEST_TMPDIR/x"
  says "$stderr" "--cert-key are both needed"
  ends 64 p audit import
  ends 73 p audit export -o "$BATS_TEST_TMPDIR/no/folder"
}
