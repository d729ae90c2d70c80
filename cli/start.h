// How a program of root begins: with as little as possible of what others can set, and ready to
// end.
#pragma once

namespace poisonctl {

// To be called first in main, before any thread.
// - Every environment variable is taken away but those that poisonctl itself reads: how a
//   terminal is to look (NO_COLOR, LC_ALL, LC_CTYPE, LANG) and what systemd says to a service.
//   Libraries take the places of files from others (TZ, TMPDIR, OPENSSL_CONF, LOCPATH ...), and
//   code to load.
// - A core dump would hold the signing key: root's programs leave none (prctl(2), PR_SET_DUMPABLE).
// - Where memory is wanting in a destructor, of a library's too, the program says so and ends with
//   the status of an input or output error, not by abort(3). `program`: its name, for the message.
void start_program(const char* program);

}  // namespace poisonctl
