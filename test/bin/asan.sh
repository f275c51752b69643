#!/bin/bash
# The extension with AddressSanitizer and UndefinedBehaviorSanitizer inside of
# Debian's own PostgreSQL: regress, isolation and some TAP tests.  A report in
# any server log is a failure, whatever the tests say.
#   asan.sh [TAP-TEST ...]
set -euo pipefail
. "$(dirname "$0")"/common.sh
tap=${*:-test/t/010_sync.pl test/t/020_worker.pl test/t/065_alerts.pl test/t/183_security_wire.pl}
make_place asan
finish() {
	status=$?
	[ -n "${user:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; }
	rm -rf "$place"
	exit $status
}
trap finish EXIT
copy_source
unset JACKSYNC_CCACHE
build COPT="-fsanitize=address,undefined -fno-omit-frame-pointer -O1 -g"

# The sanitizer must be initialised before any other constructor asks for
# memory (libp11-kit's would wait for ever), so a first one does.
cat >"$place/first.c" <<'C'
#include <stdlib.h>
__attribute__((constructor)) static void first(void) { void *volatile p = malloc(1); free(p); }
C
gcc -shared -fPIC -O0 -o "$place/first.so" "$place/first.c" -Wl,-z,initfirst
preload="$(readlink -f "$(gcc -print-file-name=libasan.so)") $place/first.so"
sanitized() {
	$run LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 TEMP_CONFIG="$place/extra.conf" \
		timeout 1200 make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" "$@" >>"$place/log" 2>&1
}
bad=0
sanitized installcheck ISOLATION= TAP_TESTS= \
	REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_regress --temp-config=$place/extra.conf" || bad=1
sanitized installcheck REGRESS= TAP_TESTS= \
	ISOLATION_OPTS="--inputdir=test --outputdir=. --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_isolation --temp-config=$place/extra.conf" || bad=1
for test in $tap; do
	[ -f "$top/$test" ] || continue
	sanitized installcheck REGRESS= ISOLATION= PROVE_FLAGS="-I test/lib" PROVE_TESTS="$test" || bad=1
done

reports=$(find "$place" \( -name '*.log' -o -name log \) -type f -exec \
	grep -lE 'AddressSanitizer|LeakSanitizer|runtime error:|terminated by signal' {} + || true)
for file in $reports; do
	echo "== $file"
	grep -E -A25 -m3 'AddressSanitizer|runtime error:|terminated by signal' "$file" || true
	bad=1
done
if [ "$bad" != 0 ]; then
	grep -E '^(not ok|test .*FAILED)|# +(Failed|got|expected)' "$place/log" || tail -40 "$place/log"
	cat "$place"/src/regression.diffs 2>/dev/null | head -60 || true
	exit 1
fi
echo "no reports of AddressSanitizer and UndefinedBehaviorSanitizer"
