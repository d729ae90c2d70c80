#!/usr/bin/env bats
# poisonctl report: one page that needs nothing else, that hides nothing, and that proves who made it.

load helpers

# The text of the page of this test, which is sound HTML (page_check.py).
# The python of the distribution, as the package of html5lib is.
page_text() { /usr/bin/python3 "$HERE/page_check.py" < "$BATS_TEST_TMPDIR/page.html"; }

make_page() { p report -o "$BATS_TEST_TMPDIR/page.html"; }

@test "report writes one sound page that says what there is" {
  python3 "$HERE/dmi.py" "$MACHINE" "DIMM A1:S-1:0:32" "DIMM B1:S-2:32:64"
  fill
  run p -q verify
  ends 0 make_page
  says "$(page_text)" "Faulty memory is in use" "DIMM A1 / BANK" "S-2" "0x2800000-0x2800fff" \
    "memtest86+, slot A1" "faulty, out of use" "sources" "Each tile is 64 KiB" \
    "Huge pages of 2 MiB" "Node 0" "kernel-image" "Signature"
  same "$(stat -c %a "$BATS_TEST_TMPDIR/page.html")" 640
}

@test "report goes to standard output without -o, the same but for the time" {
  fill
  ends 0 p report
  says "$output" "<!DOCTYPE html>" "</html>"
}

@test "report without a registry is an error that says so" {
  ends 66 p report
  says "$stderr" "no registry at"
  [ -z "$output" ]
}

@test "report shows text of others harmlessly" {
  fill
  note=$(printf '<script src=//x.example/x.js></script>"\x27><img onerror=a()>\u202e\x1b[2J\x7f')
  p -q record 0x3800000 --note "$note"
  head -c 16000 /dev/zero | tr '\0' '<' > "$BATS_TEST_TMPDIR/long"
  p -q record 0x3900000 --note "$(cat "$BATS_TEST_TMPDIR/long")"
  ends 0 make_page
  says "$(page_text)" "<script src=//x.example/x.js></script>" '\xe2\x80\xae\x1b[2J\x7f'
  [ "$(wc -c < "$BATS_TEST_TMPDIR/page.html")" -lt 100000 ]
  ends 1 env LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$BATS_TEST_TMPDIR/page.html"
}

@test "report --check knows its own page, and any change of it" {
  fill
  make_page
  ends 0 p report --check "$BATS_TEST_TMPDIR/page.html"
  says "$output" "as it was signed" "the key and the log are those of this registry"
  sed 's/Faulty memory/Faultless memory/' "$BATS_TEST_TMPDIR/page.html" > "$BATS_TEST_TMPDIR/changed"
  ends 65 p report --check "$BATS_TEST_TMPDIR/changed"
  says "$stderr" "was changed after it was signed"
  sed 's#</body>#<p>All is well.</p></body>#' "$BATS_TEST_TMPDIR/page.html" > "$BATS_TEST_TMPDIR/changed"
  ends 65 p report --check "$BATS_TEST_TMPDIR/changed"
  says "$stderr" "what follows the signed part"
  ends 65 p report --check "$MACHINE/proc/iomem"
  says "$stderr" "has no signature"
  ends 64 p report --check "$BATS_TEST_TMPDIR/page.html" -o x
}

@test "report --check says when the key is not one of this host" {
  fill
  make_page
  other=$BATS_TEST_TMPDIR/other.db
  "$POISONCTL" --sysroot "$MACHINE" --registry "$other" -q record 0x2800000
  ends 1 "$POISONCTL" --sysroot "$MACHINE" --registry "$other" report --check "$BATS_TEST_TMPDIR/page.html"
  says "$output" "does not know the key"
  mkdir -p "$MACHINE/etc/poisonctl"
  p handover key > "$MACHINE/etc/poisonctl/trusted-keys"
  ends 0 "$POISONCTL" --sysroot "$MACHINE" --registry "$other" report --check "$BATS_TEST_TMPDIR/page.html"
  says "$output" "this host trusts the key"
}

@test "report can be checked without poisonctl, as the page itself says" {
  fill
  make_page
  cd "$BATS_TEST_TMPDIR"
  # The second <pre> of the last section, as a reader would copy it.
  python3 -c "
import html, re
page = open('page.html').read()
print(html.unescape(re.findall(r'<pre>(.*?)</pre>', page[page.index('id=\"statement\"'):], re.S)[0]))
" | sed 's/FILE/page.html/g' > commands
  ends 0 bash -euo pipefail commands
  says "$output" "Signature Verified Successfully" "$(sed -n 's/^sha256 //p' page.html)"
  sed -i 's/^events .*/events 999/' page.html
  run bash -euo pipefail commands
  [ "$status" -ne 0 ]
}

@test "report without a key is made all the same, and says so" {
  fill
  rm "$REGISTRY.key"
  ends 0 make_page
  says "$stderr" "the report is not signed"
  says "$(page_text)" "This page is not signed"
}

@test "report of many frames is a page of bounded size that says what it leaves out" {
  seq 0 3 16000 | awk '{printf "0x%x\n", $1 + 16}' > "$BATS_TEST_TMPDIR/frames"
  p -q collect pfn "$BATS_TEST_TMPDIR/frames"
  ends 0 make_page
  says "$(page_text)" "The 200 records to look at first. The other 5,134" "Of the first 40 records"
  [ "$(wc -c < "$BATS_TEST_TMPDIR/page.html")" -lt 400000 ]
}
