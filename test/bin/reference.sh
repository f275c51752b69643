#!/bin/sh
# reference.sh CONNECTION: prints doc/reference.md, from a database with the
# extension.  Without a connection it starts a cluster for it, and writes the
# file (make reference).
set -eu
cd "$(dirname "$0")"/../..
print() {
	psql -X -q -v ON_ERROR_STOP=1 -d "$1" -f test/bin/reference.sql
	printf '\n## Errors\n\n| SQLSTATE | name | meaning |\n|---|---|---|\n'
	# a comment, and what it is about
	sed -n "/^\/\* .* \*\/$/{N;s,^/\* \(.*\) \*/\n#define ERRCODE_\(JS_[A-Z_]*\).*MAKE_SQLSTATE('J'\, *'S'\, *'\(.\)'\, *'\(.\)'\, *'\(.\)').*,| \`JS\3\4\5\` | \`\2\` | \1 |,p}" src/jacksync.h
}
[ $# = 0 ] || { print "$1"; exit; }

test/bin/deps.sh
. test/bin/common.sh
make_place reference
trap '$run pg_ctl -D "$place/data" stop -m immediate -s >/dev/null 2>&1 || true; rm -rf "$place"' EXIT
copy_source
build
$run initdb -D "$place/data" -U postgres -A trust --no-sync >/dev/null
{
	cat "$place/extra.conf"
	printf "listen_addresses = ''\nunix_socket_directories = '%s'\n" "$place"
} | $run tee -a "$place/data/postgresql.conf" >/dev/null
$run pg_ctl -D "$place/data" -l "$place/log" -w -s start
$run psql -X -q -h "$place" -U postgres -d postgres -c 'CREATE EXTENSION jacksync'
(cd "$place/src" && print "host=$place user=postgres dbname=postgres") >"$place/reference.md"
cp "$place/reference.md" doc/reference.md
echo "doc/reference.md: $(grep -c '^|' doc/reference.md) rows"
