#!/bin/bash
# make soak MINUTES=n SEED=s: the ledger for a long time (test/soak/ledger.py),
# in runs of five minutes at most, each with a seed of its own.  The first that
# finds something ends it; its seed is in the output.  LONGEST=seconds LEDGER=--gentle
# makes a longer run of one worker, for the slope of its memory.
set -euo pipefail
"$(dirname "$0")"/deps.sh
. "$(dirname "$0")"/common.sh

minutes=${MINUTES:-10}
longest=${LONGEST:-300}
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
finish() {
	status=$?
	trap - EXIT INT TERM
	[ -n "${place:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; rm -rf "$place"; }
	exit $status
}
make_place soak
trap finish EXIT
trap 'exit 130' INT TERM
copy_source
build COPT="${COPT:-}"
end=$(($(date +%s) + minutes * 60))
while left=$((end - $(date +%s))) && [ $left -gt 0 ]; do
	mkdir -m 700 "$place/run"
	[ "$(id -u)" = 0 ] && chown "$user" "$place/run"
	$run env TEMP_CONFIG="$place/extra.conf" /usr/bin/python3 "$place/src/test/soak/ledger.py" \
		--seconds $((left < longest ? left : longest)) --seed $seed --place "$place/run" --resources ${LEDGER:-}
	rm -rf "$place/run"
	seed=$((seed + 1))
done
