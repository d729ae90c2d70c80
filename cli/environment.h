// What the environment may say to a program of root.
#pragma once

namespace poisonctl {

// Takes every variable away but those that poisonctl itself reads: how a terminal is to look
// (NO_COLOR, LC_ALL, LC_CTYPE, LANG) and what systemd says to a service. Libraries take the places
// of files from others (TZ, TMPDIR, OPENSSL_CONF, LOCPATH ...), and code to load. To be called
// first in main, before any thread; it allocates nothing.
void forget_environment();

}  // namespace poisonctl
