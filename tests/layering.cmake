# Who may include whom, and who may open files: the rules of the design that a compiler cannot see.
# Run as: cmake -DSOURCE_DIR=<the checkout> -P layering.cmake
cmake_minimum_required(VERSION 3.25)

# Which files a rule is for (a regular expression on the path from SOURCE_DIR), which of them are
# free of it, what a line must not have, and why not.
set(rules
  registry_below_all backends_below_cli one_store one_sqlite one_fdt one_tracefs one_curl one_opener
  cli_only_writes replay_is_small no_page_shift)

set(registry_below_all_files "^registry/")
set(registry_below_all_free "^$")
set(registry_below_all_pattern "#include [\"<](backends|cli)/")
set(registry_below_all_why "registry/ is below backends/ and cli/ and knows nothing of them")

set(backends_below_cli_files "^backends/")
set(backends_below_cli_free "^$")
set(backends_below_cli_pattern "#include [\"<]cli/")
set(backends_below_cli_why "backends/ is below cli/ and knows nothing of it")

set(one_store_files "^backends/")
set(one_store_free "^$")
set(one_store_pattern "#include [\"<]registry/store[a-z_]*[.]h")
set(one_store_why "a backend gets ranges and never reads the store")

set(one_sqlite_files "^(registry|backends|cli)/")
set(one_sqlite_free "^registry/sqlite[.]cc$")
set(one_sqlite_pattern "#include [\"<]sqlite3[.]h")
set(one_sqlite_why "only registry/sqlite knows the C interface of SQLite")

set(one_fdt_files "^(registry|backends|cli)/")
set(one_fdt_free "^registry/fdt[.]cc$")
set(one_fdt_pattern "#include [\"<](lib)?fdt[.]h")
set(one_fdt_why "only registry/fdt knows the C interface of libfdt")

set(one_tracefs_files "^(registry|backends|cli)/")
set(one_tracefs_free "^registry/sources/trace/(reader[.]cc|libtracefs[.]h)$")
set(one_tracefs_pattern "#include [\"<](tracefs|event-parse|kbuffer|traceevent/.*)[.]h")
set(one_tracefs_why "only registry/sources/trace/reader knows libtracefs and libtraceevent")

set(one_curl_files "^(registry|backends|cli)/")
set(one_curl_free "^registry/redfish/curl_transport[.]cc$")
set(one_curl_pattern "#include [\"<]curl/")
set(one_curl_why "only registry/redfish/curl_transport knows libcurl")

# The flags of open(2) and the names of its relatives; SysRoot::open and Store::open have neither.
set(opens_a_file
  "O_(RDONLY|RDWR|PATH)|(fopen|freopen|opendir|creat|openat2?) *\\(|(basic_)?i?fstream|filebuf")

set(one_opener_files "^(registry|backends)/")
set(one_opener_free "^registry/(sysroot|posix_file|file_lock|store|sqlite_snapshot|sources/(file_stream|trace/reader))[.]cc$")
set(one_opener_pattern "(^|[^A-Za-z0-9_])(${opens_a_file}|O_WRONLY|ofstream)([^A-Za-z0-9_]|$)")
set(one_opener_why
  "files of the machine are opened through a SysRoot, others by registry/posix_file, registry/file_lock, registry/store, or what reads files of other programs")

# cli/ creates the files that a person asked for, and reads none but through a SysRoot.
set(cli_only_writes_files "^cli/")
set(cli_only_writes_free "^$")
set(cli_only_writes_pattern "(^|[^A-Za-z0-9_])(${opens_a_file})([^A-Za-z0-9_]|$)")
set(cli_only_writes_why "files of the machine are opened through a SysRoot")

# The link line of poison-replay holds the rest to it.
set(replay_is_small_files "^(cli/replay|backends)/")
set(replay_is_small_free "^backends/badram_cover[.]h$")  # a struct of two numbers, no code
set(replay_is_small_pattern
  "#include [\"<](boost/|registry/(store|sqlite|chain_|recovery|checkpoint|quarantine|sources/)|cli/(invocation|steps|verb))")
set(replay_is_small_why "poison-replay goes into every initramfs and has no registry")

set(no_page_shift_files "^(registry|backends|cli)/")
set(no_page_shift_free "^registry/text[.]cc$")  # shifts the bits of UTF-8, not addresses
set(no_page_shift_pattern "(<<|>>)=? *12[uUlL]*([^0-9.]|$)")
set(no_page_shift_why "pages are not always 4 KiB: use PageShift")

file(GLOB_RECURSE sources RELATIVE ${SOURCE_DIR}
  ${SOURCE_DIR}/registry/*.h ${SOURCE_DIR}/registry/*.cc
  ${SOURCE_DIR}/backends/*.h ${SOURCE_DIR}/backends/*.cc
  ${SOURCE_DIR}/cli/*.h ${SOURCE_DIR}/cli/*.cc)
foreach(folder registry backends cli)
  set(of_folder ${sources})
  list(FILTER of_folder INCLUDE REGEX "^${folder}/")
  if(NOT of_folder)
    message(SEND_ERROR "no sources in ${SOURCE_DIR}/${folder}: nothing was checked there")
  endif()
endforeach()

foreach(source IN LISTS sources)
  file(READ ${SOURCE_DIR}/${source} text)
  # What CMake takes for the structure of a list is of no interest here.
  string(REGEX REPLACE "[][;\\]" "_" text "${text}")
  string(REPLACE "\n" ";" lines "${text}")
  set(number 0)
  foreach(line IN LISTS lines)
    math(EXPR number "${number} + 1")
    string(REGEX REPLACE "//.*" "" code "${line}")
    foreach(rule IN LISTS rules)
      if(source MATCHES "${${rule}_files}" AND NOT source MATCHES "${${rule}_free}"
         AND code MATCHES "${${rule}_pattern}")
        message(SEND_ERROR "${source}:${number}: ${${rule}_why}:\n  ${line}")
      endif()
    endforeach()
  endforeach()
endforeach()
