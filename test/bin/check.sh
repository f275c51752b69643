#!/bin/bash
# make check: every test, as an ordinary user, on a throwaway copy of the
# source and throwaway clusters.  Leaves nothing behind.
#
#   make check TESTS="apply capture"   these regress tests only
#   make check PROVE_TESTS=test/t/010_worker.pl   this TAP test only
set -euo pipefail
"$(dirname "$0")"/deps.sh tests
. "$(dirname "$0")"/common.sh

passed=0
failed=0
only=${TESTS:+regress}${PROVE_TESTS:+tap}
case ${PROVE_TESTS:-} in test/crash/*) only=crash ;; esac

section() { printf '\n== %s\n' "$*"; }
count() { passed=$((passed + $1)); failed=$((failed + $2)); }
finish() {
	status=$?
	trap - EXIT INT TERM
	[ -n "${place:-}" ] && { pkill -u "$user" -f "$place" 2>/dev/null || true; rm -rf "$place"; }
	exit $status
}
make_place check
trap finish EXIT
trap 'exit 130' INT TERM
copy_source

section "build for $("$bindir"/postgres --version)"
build COPT="${COPT:-}"

if [ -z "$only" ]; then
	section "rules of the source"
	for script in "perl test/check_layers.pl" "sh test/check_symbols.sh" "perl test/bin/spot.pl" "perl test/bin/spot.pl --prove"; do
		if (cd "$place/src" && $run $script); then count 1 0; else count 0 1; fi
	done

	section "the pure core, by itself"
	if $run make -s -C "$place/src/test/unit" check CASES="${CASES:-1000000}" \
		SEED="${SEED:-$RANDOM$RANDOM}" >"$place/unit.log" 2>&1; then
		grep '^#' "$place/unit.log"
	else
		tail -30 "$place/unit.log"
		count 0 1
	fi
	count "$(grep -c '^ok ' "$place/unit.log" || true)" "$(grep -c '^not ok ' "$place/unit.log" || true)"
fi

# run_suite NAME MAKE-ARGUMENTS: regress or isolation; shows what differs
run_suite() {
	local name=$1 log=$place/$1.log
	shift
	section "$name"
	if ! $run make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" installcheck "$@" >"$log" 2>&1; then
		cat "$log"
		cat "$place"/src/regression.diffs 2>/dev/null || true
		find "$place/src/log" "$place"/inst_*/log -name '*.log' -exec tail -n 20 {} + 2>/dev/null || true
		grep -qE '(^not ok|FAILED)' "$log" || count 0 1
	fi
	grep -E '^(ok|not ok|test .*(ok|FAILED))' "$log" || true
	count "$(grep -cE '^(ok [0-9]|test .* ok )' "$log" || true)" \
		"$(grep -cE '^(not ok [0-9]|test .* FAILED)' "$log" || true)"
}

if [ -z "$only" ] || [[ $only = *regress* ]]; then
	run_suite regress ISOLATION= TAP_TESTS= ${TESTS:+REGRESS="$TESTS"} \
		REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_regress --temp-config=$place/extra.conf"
fi
# Tables that cannot be written directly must give the same as those that can.
if [ -z "$only" ] || [[ $only = *regress* ]]; then
	(cat "$place/extra.conf"; echo "jacksync.force_general_path = on") >"$place/general.conf"
	run_suite general ISOLATION= TAP_TESTS= REGRESS="apply capture resolution tables" \
		REGRESS_OPTS="--inputdir=test --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_general --temp-config=$place/general.conf"
fi
if [ -z "$only" ]; then
	run_suite isolation REGRESS= TAP_TESTS= \
		ISOLATION_OPTS="--inputdir=test --outputdir=. --load-extension=jacksync --encoding=UTF8 --temp-instance=$place/inst_isolation --temp-config=$place/extra.conf"
fi
# run_tap SECONDS TESTS: TAP tests, with what is in $place; several at once,
# as they mostly wait (JOBS says how many).
run_tap() {
	local log=$place/tap.log tests broken
	if ! timeout "$1" $run TEMP_CONFIG="$place/extra.conf" make -s -C "$place/src" with_llvm=no "PG_CONFIG=$PG_CONFIG" \
		installcheck REGRESS= ISOLATION= PROVE_FLAGS="-I test/lib --timer -j${JOBS:-$(($(nproc) + 1))}" PROVE_TESTS="$2" >"$log" 2>&1; then
		cat "$log"
		find "$place/src/tmp_check/log" -name '*.log' -exec tail -n 30 {} + 2>/dev/null || true
		grep -q 'Failed: [1-9]' "$log" || count 0 1
	fi
	grep -E '^\[|^test/(t|crash)/|^#   Failed test|^# measured|^All tests|^Files=|^Result' "$log" || true
	tests=$(sed -n 's/^Files=[0-9]*, Tests=\([0-9]*\),.*/\1/p' "$log")
	broken=$(sed -n 's/.*Tests: [0-9]* Failed: \([0-9]*\)).*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
	count "$((${tests:-0} - broken))" "$broken"
}

if [ -z "$only" ] || [[ $only = *tap* ]]; then
	section "TAP: worker, network, crashes"
	run_tap 1800 "${PROVE_TESTS:-test/t/*.pl}"
fi
if [ -z "$only" ] || [ "$only" = crash ]; then
	section "crash points, in a build that has them"
	(
		fault_build
		run_tap "$([ -n "${CRASH:-}" ] && echo 7200 || echo 600)" "${PROVE_TESTS:-test/crash/*.pl}"
		echo "$passed $failed" >"$place/../counts"
	)
	read -r passed failed <"$place/counts"
fi

printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
