#!/bin/bash
# Plants the bugs of test/soak/mutants.py, one at a time, in a scratch copy,
# and lets the ledger look for them: test/bin/mutants.sh [NAME ...]
set -euo pipefail
"$(dirname "$0")"/deps.sh
. "$(dirname "$0")"/common.sh

finish() {
	status=$?
	trap - EXIT INT TERM
	[ -n "${place:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; rm -rf "$place"; }
	exit $status
}
make_place mutants
trap finish EXIT
trap 'exit 130' INT TERM
copy_source
build
cc=
[ -n "${JACKSYNC_CCACHE:-}" ] && cc="CC=ccache gcc"
$run env TEMP_CONFIG="$place/extra.conf" MAKE_WITH="$cc" ${cc:+CCACHE_DIR=$JACKSYNC_CCACHE CCACHE_UMASK=000} \
	/usr/bin/python3 "$place/src/test/soak/mutants.py" "$place/src" "$place/stage" "$@"
