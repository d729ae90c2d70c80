# For what runs before a package is unpacked (debian/poisonctl.preinst.in, rpm/poisonctl.spec): leaves a registry of a
# schema that the package does not know, with the version that wrote it. The build puts in the number.
# shellcheck shell=sh

refuse_newer_schema() {
  registry=/var/lib/poisonctl/registry.db
  known=@SCHEMA@
  [ -f "$registry" ] || return 0
  # user_version and application_id ("pois") in the header of the file: sqlite.org/fileformat.html, 1.3.
  # shellcheck disable=SC2046 # twelve numbers
  set -- $(od -An -v -tu1 -j60 -N12 "$registry")
  [ "${9-} ${10-} ${11-} ${12-}" = "112 111 105 115" ] || return 0
  found=$((($1 << 24) + ($2 << 16) + ($3 << 8) + $4))
  [ "$found" -gt "$known" ] || return 0
  cat >&2 <<MESSAGE
poisonctl: $registry is of schema version $found, and this package knows
versions up to $known. Nothing was changed. Keep the package that is installed, or take a newer one. To go back
all the same, move the registry away first; a copy from before its upgrade, $registry.schema-N,
can stand in for it, without what was recorded since.
MESSAGE
  return 1
}
