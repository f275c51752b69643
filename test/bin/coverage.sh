#!/bin/bash
# Which lines of src/ the tests run: gcov over regress, the general path,
# isolation and TAP.
# Prints every file, and the lines that were not run with SHOW=1.
#   coverage.sh [TAP-TEST ...]    LIMIT=SECONDS for each kind of test, JOBS=n TAP at once
set -euo pipefail
. "$(dirname "$0")"/common.sh
make_place coverage
finish() {
	status=$?
	[ -n "${user:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; }
	rm -rf "$place"
	exit $status
}
trap finish EXIT
copy_source
unset JACKSYNC_CCACHE
build COPT="--coverage -O0" >/dev/null
covered() {
	$run TEMP_CONFIG="$place/extra.conf" timeout "${LIMIT:-2400}" make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" "$@" >>"$place/log" 2>&1 ||
		echo "a test failed: what it did is counted all the same" >&2
}
covered installcheck ISOLATION= TAP_TESTS= \
	REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_regress --temp-config=$place/extra.conf"
(cat "$place/extra.conf"; echo "jacksync.force_general_path = on") >"$place/general.conf"
covered installcheck ISOLATION= TAP_TESTS= REGRESS="apply capture resolution tables" \
	REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_general --temp-config=$place/general.conf"
covered installcheck REGRESS= TAP_TESTS= \
	ISOLATION_OPTS="--inputdir=test --outputdir=. --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_isolation --temp-config=$place/extra.conf"
covered installcheck REGRESS= ISOLATION= PROVE_FLAGS="-I test/lib -j${JOBS:-$(($(nproc) + 1))}" PROVE_TESTS="${*:-test/t/*.pl}"
grep -E '^(not ok|test .*FAILED|Files=|#   Failed)|^test/t/.*(Failed|Wstat)' "$place/log" >&2 || true
cd "$place/src"
for file in src/*.c; do
	gcov -r -o src "$file" >/dev/null 2>&1 || true
	file=$(basename "$file")
	[ -f "$file.gcov" ] || continue
	run=$(grep -cE '^ +[0-9]+\*?:' "$file.gcov" || true)
	missed=$(grep -cE '^ +#####:' "$file.gcov" || true)
	echo "$run $missed $file"
	if [ -n "${SHOW:-}" ]; then
		grep -E '^ +#####:' "$file.gcov" | sed "s/^ *#####: *\([0-9]*\):/    $file:\1: /" >&2 || true
	fi
done | awk '$1 + $2 > 0 { run += $1; missed += $2; printf "%5.1f %%  %5d of %5d  %s\n", 100 * $1 / ($1 + $2), $1, $1 + $2, $3 }
	END { printf "%5.1f %% of %d lines of src/ were run\n", 100 * run / (run + missed), run + missed }'
