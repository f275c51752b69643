#!/bin/bash
# The regress tests with every backend under valgrind's memcheck: reads of
# what was never written, and writes beyond what malloc gave.  With a server
# that was built with -DUSE_VALGRIND (PG_CONFIG) palloc's memory is watched too.
#   valgrind.sh [REGRESS-TEST ...]
set -euo pipefail
. "$(dirname "$0")"/common.sh
command -v valgrind >/dev/null || {
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends valgrind >/dev/null
}
make_place valgrind
finish() {
	status=$?
	[ -n "${pid:-}" ] && { kill -INT "$pid" 2>/dev/null || true; }
	[ -n "${user:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; }
	rm -rf "$place"
	exit $status
}
trap finish EXIT
copy_source
unset JACKSYNC_CCACHE
build COPT="-O1 -g"
cat >"$place/supp" <<-'S'
	{
	   padding in pages and records
	   Memcheck:Param
	   write(buf)
	   obj:*
	   ...
	}
	{
	   the same
	   Memcheck:Param
	   pwrite64(buf)
	   obj:*
	   ...
	}
	{
	   the same
	   Memcheck:Param
	   writev(vector[0])
	   obj:*
	   ...
	}
	{
	   the same
	   Memcheck:Param
	   pwritev(vector[0])
	   obj:*
	   ...
	}
	{
	   messages of statistics have padding
	   Memcheck:Param
	   socketcall.sendto(msg)
	   obj:*
	   ...
	}
	{
	   the cache of regular expressions is moved with memcpy()
	   Memcheck:Overlap
	   fun:__memcpy_chk
	   fun:RE_compile_and_cache
	}
S
$run initdb -D "$place/data" -A trust -U postgres -E UTF8 --locale=C >/dev/null
{
	cat "$place/extra.conf"
	printf "unix_socket_directories = '%s'\nlisten_addresses = ''\nfsync = off\n" "$place"
} >>"$place/data/postgresql.conf"
mkdir -p "$place/reports" && chmod 777 "$place/reports"
$run valgrind --quiet --trace-children=yes --leak-check=no --gen-suppressions=no --suppressions="$place/supp" \
	--log-file="$place/reports/%p" "$bindir/postgres" -D "$place/data" >"$place/log" 2>&1 &
pid=$!
for _ in $(seq 300); do
	$run psql -X -h "$place" -U postgres -c 'SELECT 1' postgres >/dev/null 2>&1 && break
	kill -0 "$pid" 2>/dev/null || { cat "$place/log" "$place"/reports/*; exit 1; }
	sleep 1
done
tests=${*:-$(cd "$place/src/test/sql" && ls *.sql | sed 's/\.sql$//')}
bad=0
$run PGHOST="$place" PGUSER=postgres timeout 3000 make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" installcheck \
	ISOLATION= TAP_TESTS= REGRESS="$(echo $tests)" REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8" >"$place/out" 2>&1 || bad=1
grep -E '^(ok|not ok|test )' "$place/out" || tail -20 "$place/out"
cat "$place"/src/regression.diffs 2>/dev/null | head -40 || true
found=$(find "$place/reports" -type f -size +0 -exec grep -l 'jacksync' {} + 2>/dev/null || true)
all=$(find "$place/reports" -type f -size +0 | wc -l)
for file in $found; do
	head -40 "$file"
	bad=1
done
[ "$bad" = 0 ] || exit 1
echo "no reports of valgrind in jacksync ($all in the server itself)"
