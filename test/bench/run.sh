#!/bin/bash
# make bench: jacksync beside its baselines, in one run, interleaved, by the
# CPU time of the backend.  QUICK=1 takes less than a minute.
#
#   ROWS=100000 EVERY=5 ROUNDS=3   rows, every n-th of them in a delta, rounds
#   PARTS="apply capture freshness load frontdesk latency many"  what to
#                                  measure; also growth (SIZES)
#   LOAD=100000 DESK=300000        records of an initial load
#   FILL=100                       fillfactor of the tables of the part growth
#   BUFFERS=1GB                    shared_buffers; more for SIZES of millions
#   HUGE=on                        fail if the kernel has no huge pages for them
#                                  (echo 7000 >/proc/sys/vm/nr_hugepages)
#   KEEP=1                         leave the cluster to look around (or perf)
set -euo pipefail
{								# read as a whole: it may be edited while it runs
"$(dirname "$0")"/../bin/deps.sh
. "$(dirname "$0")"/../bin/common.sh
. "$(dirname "$0")"/worker.sh

if [ "${QUICK:-}" = 1 ]; then
	: "${ROWS:=20000}" "${EVERY:=5}" "${ROUNDS:=1}" "${UPDATES:=2000}"
	: "${LOAD:=20000}" "${DESK:=100000}" "${DESK_SECONDS:=1}" "${EDITS:=20}" "${MANY_SECONDS:=10}"
	: "${PARTS:=apply capture freshness load latency}"
fi
: "${FILL:=100}" "${ROWS:=100000}" "${EVERY:=5}" "${ROUNDS:=3}" "${UPDATES:=20000}" "${PAGE:=1000}"
: "${LOAD:=100000}" "${LOAD_ROUNDS:=$ROUNDS}" "${DESK:=300000}" "${DESK_ROUNDS:=1}" "${DESK_SECONDS:=2}" "${EDITS:=200}" "${MANY_SETTLE:=66}" "${MANY_SECONDS:=60}"
: "${PARTS:=apply capture freshness load frontdesk latency many}"

finish() {
	status=$?
	trap - EXIT INT TERM
	if [ "${KEEP:-}" = 1 ]; then
		echo "still running: psql -h $place -U postgres bench"
		exit $status
	fi
	[ -n "${server:-}" ] && stop_serving
	[ -n "${burner:-}" ] && kill "$burner" 2>/dev/null || true
	$run pg_ctl -D "$place/data" stop -m immediate -s >/dev/null 2>&1 || true
	rm -rf "$place"
	exit $status
}
make_place bench
trap finish EXIT
trap 'exit 130' INT TERM
PG_CONFIG=$PG_CONFIG "$(dirname "$0")"/deps.sh "$version"
copy_source
build >/dev/null
gcc -O2 -fPIC -shared -I"$("$PG_CONFIG" --includedir-server)" -o "$place/bench.so" "$place/src/test/bench/bench.c"
chmod 755 "$place/bench.so"

$run initdb -D "$place/data" -U postgres -A trust --no-sync >/dev/null
{
	cat "$place/extra.conf"
	cat <<EOT
listen_addresses = ''
unix_socket_directories = '$place'
shared_buffers = ${BUFFERS:-1GB}
huge_pages = ${HUGE:-try}
max_wal_size = 8GB
fsync = ${DURABLE:-off}
synchronous_commit = ${DURABLE:-off}
full_page_writes = ${DURABLE:-off}
autovacuum = off
jit = off
timezone = 'UTC'
EOT
} | $run tee -a "$place/data/postgresql.conf" >/dev/null
$run pg_ctl -D "$place/data" -l "$place/log" -w -s start
psql="$run psql -X -q -h $place -U postgres -v ON_ERROR_STOP=1 -P pager=off"
$psql -d postgres -c 'CREATE DATABASE bench'
bench="$psql -d bench"
$bench -v module="$place/bench.so" -f "$place/src/test/bench/setup.sql"

printf '%s, %s cores, load %s, %s\n' "$("$bindir"/postgres --version)" "$(nproc)" "$(cut -d' ' -f1-3 /proc/loadavg)" "$(date +%F)"

# app_loop ROUND PASS: what psql is to run for the contender that is a process
# of its own
app_loop() {
	[ -z "$loop" ] || echo "\\! /usr/bin/python3 $place/src/test/bench/loop.py 'host=$place user=postgres dbname=bench' $1 $2"
}

# change ROUND: what psql is to run for what happens at both sides before it
change() {
	echo "CALL change_pms($1, $EVERY); CALL make_pages($1, $EVERY, $PAGE);"
	echo "SELECT format('CALL change_rows(%L, $1, $EVERY)', tab) FROM contender ORDER BY ord \\gexec"
	echo "VACUUM; SELECT bench.look_at(tab) FROM contender UNION ALL SELECT bench.look_at('jacksync.link') \\g /dev/null"
}

apply() {
	printf '\nAPPLY: %s local rows, %s in pages of %s: 10 %% conflicts, 5 %% set merges, 60 %% PMS changes, 25 %% echoes; %s round(s)\n' \
		"$ROWS" "$((ROWS / EVERY))" "$PAGE" "$ROUNDS"
	printf 'x raw: records per CPU second against the raw upsert of the same pages; echo: the same pages again; new: the first pages of a session\n'
	local loop=
	if /usr/bin/python3 -c 'import psycopg2' 2>/dev/null; then
		loop=1
		$bench -c "INSERT INTO bench.contender VALUES (5, '(5) application side: Python, a round trip each', NULL, 'bench.app_rows')"
	else
		echo "not compared: an application's own loop (there is no python3-psycopg2)"
	fi
	# one backend for all rounds, as the worker is one; what it pays for a page
	# that it sees first is not measured
	{
		echo "SET search_path = bench, public;"
		echo "CALL fill_pms($ROWS); CALL make_pages(0, 1, $PAGE); CALL run_round(0, 'load'); CALL run_round(0, 'load', 2);"
		app_loop 0 load
		echo "VACUUM ANALYZE;"
		for round in $(seq 1 "$ROUNDS"); do
			change "$round"
			echo "CALL run_round($round, 'delta'); CALL run_round($round, 'echo');"
			app_loop "$round" delta
			app_loop "$round" echo
			echo "CALL run_round($round, 'delta', 2); CALL run_round($round, 'echo', 2);"
		done
	} | $bench
	# another one, that never saw a record
	{
		echo "SET search_path = bench, public;"
		change "$((ROUNDS + 1))"
		echo "CALL run_round($((ROUNDS + 1)), 'new'); CALL run_round($((ROUNDS + 1)), 'new', 2);"
		app_loop "$((ROUNDS + 1))" new
	} | $bench
	{
		echo "SET search_path = bench, public; SELECT * FROM apply_table;"
		echo "SELECT contender, round(sum(cpu)::numeric / sum(records), 1) AS \"load us/rec\", round(sum(wal) / sum(records)) AS \"WAL B/rec\" FROM result WHERE pass = 'load' GROUP BY 1 ORDER BY 1;"
	} | $bench
	$bench -At <<'EOT'
SET search_path = bench, public;
SELECT format('SELECT %L || md5(string_agg(md5((external_id, guest_name, check_in_date, check_out_date, room_number, status, balance, adults, notes, (SELECT array_agg(e ORDER BY e) FROM unnest(special_requests) e))::text), %L ORDER BY external_id)) FROM %s', 'digest of rows, ' || name || ': ', '', tab)
FROM contender WHERE ord > 2 ORDER BY ord \gexec
EOT
}

# the same 5000 records against more and more rows; each size in a database of its own
growth() {
	printf '\nGROWTH: microseconds of CPU per record, 5000 records of the same mixture, fillfactor %s\n' "$FILL"
	for rows in ${SIZES:-10000 100000 1000000}; do
		$psql -d postgres -c "CREATE DATABASE growth_$rows"
		base="$psql -d growth_$rows"
		$base -v module="$place/bench.so" -f "$place/src/test/bench/setup.sql"
		{
			echo "SET search_path = bench, public; DELETE FROM contender WHERE ord NOT IN (1, 7);"
			echo "ALTER TABLE raw_rows SET (fillfactor = $FILL); ALTER TABLE jst_rows SET (fillfactor = $FILL);"
			echo "CALL fill_pms($rows); CREATE INDEX ON pms (n); CALL grow($rows, $PAGE); VACUUM ANALYZE;"
			for round in 1 2; do
				echo "CALL change_pms($round, $((rows / 5000))); CALL make_pages($round, $((rows / 5000)), $PAGE);"
				echo "SELECT format('CALL change_rows(%L, $round, $((rows / 5000)))', tab) FROM contender ORDER BY ord \\gexec"
				# not measured: what a backend pays for a page that it sees first
				echo "VACUUM; SELECT bench.look_at(r) FROM unnest(array['bench.raw_rows', 'bench.jst_rows', 'jacksync.link']::regclass[]) r \\g /dev/null"
				echo "CALL run_round($round, 'delta'); CALL run_round($round, 'echo');"
			done
			echo "SELECT $rows AS rows, contender, \"us/rec\", \"echo us/rec\" FROM apply_table;"
		} | $base
		$psql -d postgres -c "DROP DATABASE growth_$rows"
	done
}

capture() {
	printf '\nCAPTURE: %s single-row updates in the server, committed one by one; and one UPDATE of %s rows\n' "$UPDATES" "$ROWS"
	$bench -v updates="$UPDATES" -v rows="$ROWS" -f "$place/src/test/bench/capture.sql"
	for who in $($bench -At -c "SELECT r || ' AND ord = ' || ord FROM bench.two_clients WHERE client = 0 ORDER BY r, (ord * 5 + r) % 11" | tr ' ' _); do
		for client in 0 1; do
			echo "SET search_path = bench, public; SELECT statement FROM two_clients WHERE client = $client AND r = ${who//_/ } \\gexec" | $bench &
		done
		wait
	done
	$bench -c "TABLE bench.capture_table"
	printf 'Under our own apply, rows that all change: with its trigger and with the trigger disabled\n'
	$bench -v rows="$ROWS" -v rounds="$ROUNDS" -f "$place/src/test/bench/own.sql"
}

freshness() {
	printf '\nFRESHNESS: calls by prepared statement\n'
	$bench -f "$place/src/test/bench/freshness.sql"
}

for part in $PARTS; do $part; done
exit
}
