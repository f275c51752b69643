# Sourced by run.sh: the parts that measure the worker, over HTTP.

# worker_database NAME: a database of its own, and a worker in it whose pid is
# $worker; every part leaves it with drop_database
worker_database() {
	database=$1
	$psql -d postgres -c "CREATE DATABASE $database"
	here="$psql -d $database"
	$here -v module="$place/bench.so" -f "$place/src/test/bench/setup.sql"
	worker=$($here -At -c 'SELECT jacksync.start_worker()')
	wait_until "SELECT EXISTS (SELECT FROM jacksync.worker)"
}
drop_database() { $psql -d postgres -c "DROP DATABASE $database WITH (FORCE)"; }

# wait_until QUERY: in the present database, by one session, until it gives t
wait_until() {
	$here -c "DO \$do\$ DECLARE done boolean; BEGIN
		FOR i IN 1..36000 LOOP EXECUTE \$q\$ $1 \$q\$ INTO done; EXIT WHEN done; COMMIT; PERFORM pg_sleep(0.05); END LOOP;
		IF NOT done THEN RAISE 'this did not happen'; END IF; END \$do\$"
}

# of a process: milliseconds of CPU, kB of memory of its own, kB at most with
# what it touched of shared buffers
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); print ($12 + $13) * 1000 / hz }' "/proc/$1/stat"; }
own_kb() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status"; }
peak_kb() { awk '/^VmHWM/ { print $2 }' "/proc/$1/status"; }

# serve COMMAND...: start it, and read the first line that it prints into $port
serve() {
	rm -f "$place/port"
	mkfifo "$place/port"
	chown "$user" "$place/port" 2>/dev/null || true
	$run /usr/bin/python3 "$@" >"$place/port" 2>"$place/pms.log" &
	server=$!
	read -r port <"$place/port"
}
stop_serving() { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }

# serve_pages N: a PMS that has N records, made beforehand; SLOW: milliseconds
# that it takes for a page
serve_pages() {
	$run mkdir -p "$place/pages"
	serve "$place/src/test/bench/pages.py" "$place/pages" --records "$1" --page "$PAGE" --slow "${SLOW:-0}"
}

# watch_worker FILE: writes the most memory of its own to it, until $watched is
# over
watch_worker() {
	local most=0 now
	while kill -0 "$watched" 2>/dev/null; do
		now=$(own_kb "$worker" 2>/dev/null || echo 0)
		[ "${now:-0}" -gt "$most" ] && most=$now
		sleep 0.1
	done
	echo "$most" >"$1"
}

# begin_load: the stream of the pages; the worker begins at once
begin_load() {
	$here -v pms="http://127.0.0.1:$port" -v page="$PAGE" -f "$place/src/test/bench/load_stream.sql"
}

# An initial load, beside COPY of the same rows, the raw upsert and apply_page()
# of the same pages.
load() {
	printf '\nLOAD: %s new records over HTTP, pages of %s from a server of static files; %s round(s)\n' "$LOAD" "$PAGE" "$LOAD_ROUNDS"
	serve_pages "$LOAD"
	$psql -d bench -c 'CREATE TABLE bench.load_result (contender text, round int, records int, cpu float8, wall float8, wal numeric)'
	: >"$place/memory"
	for round in $(seq 1 "$LOAD_ROUNDS"); do
		worker_database "load_$round"
		local pages=$(((LOAD + PAGE - 1) / PAGE))
		$here -v dir="$place/pages" -v pages="$pages" -f "$place/src/test/bench/load.sql"
		local before cpu0 lsn0 cpu
		before=$(own_kb "$worker")
		cpu0=$(cpu_ms "$worker")
		lsn0=$($here -At -c 'CHECKPOINT; SELECT pg_current_wal_insert_lsn()')
		begin_load
		wait_until "SELECT EXISTS (SELECT FROM jacksync.sync_run WHERE kind = 'sync' AND completed IS NOT NULL)" &
		watched=$!
		watch_worker "$place/most"
		wait "$watched"
		cpu=$(($(cpu_ms "$worker" | cut -d. -f1) - ${cpu0%.*}))
		echo "memory of the worker: $before kB at the start, $(cat "$place/most") kB at most (with shared buffers $(peak_kb "$worker") kB)" >>"$place/memory"
		$here -c "INSERT INTO bench.load_result SELECT 'the worker, over HTTP', 0, records_processed, $cpu * 1e3, extract(epoch FROM completed - started), pg_current_wal_insert_lsn() - '$lsn0' FROM jacksync.sync_run WHERE kind = 'sync' ORDER BY run_id LIMIT 1"
		# last, as its links would be in the way of the worker's
		$here -c "SET search_path = bench, public" -c "CALL load_pages('apply_page() of the pages', 'apply_jacksync_page', '$place/pages', $pages)"
		$here -At -c "COPY (SELECT contender, $round, records, cpu, wall, wal FROM bench.load_result) TO STDOUT" | $psql -d bench -c 'COPY bench.load_result FROM STDIN'
		[ "$($here -At -c 'SELECT md5(string_agg(md5((external_id, guest_name, check_in_date, status, balance, notes, special_requests)::text), $$$$ ORDER BY external_id)) = (SELECT md5(string_agg(md5((external_id, guest_name, check_in_date, status, balance, notes, special_requests)::text), $$$$ ORDER BY external_id)) FROM bench.raw_rows) FROM bench.load_rows')" = t ] || echo "THE ROWS DIFFER"
		drop_database
	done
	stop_serving
	$psql -d bench -f "$place/src/test/bench/load_table.sql"
	cat "$place/memory"
}

# desk NAME SECONDS: local single-row updates, 100 a second by two clients;
# appends their latencies in microseconds to $place/desk.NAME.  The first ones
# of a session, which fill its caches, do not count: a desk stays connected.
desk() {
	rm -f "$place"/desk_log.*
	$run pgbench -n -h "$place" -U postgres -c 2 -R 100 -T "$2" -l --log-prefix="$place/desk_log" -f "$place/desk.sql" "$database" >/dev/null 2>&1
	cat "$place"/desk_log.* | awk '$2 >= 5 { print $3 }' >>"$place/desk.$1"
}
# percentile FILE P: of numbers, one a line
percentile() { sort -n "$1" | awk -v p="$2" '{ v[NR] = $1 } END { n = int((NR - 1) * p / 100) + 1; printf "%d", v[n] }'; }

# A front desk that edits rows of the table that is being loaded.
frontdesk() {
	printf '\nFRONT DESK: 100 single-row updates a second of rows of the table, while %s records are loaded into it, and without\n' "$DESK"
	printf '\\set id random(1, 5000)\nUPDATE bench.load_rows SET notes = '"'"'desk '"'"' || :id WHERE id = :id;\n' >"$place/desk.sql"
	chmod 644 "$place/desk.sql"
	serve_pages "$DESK"
	rm -f "$place"/desk.with "$place"/desk.without "$place"/desk.busy
	for round in $(seq 1 "$DESK_ROUNDS"); do
		worker_database "desk_$round"
		begin_load
		wait_until "SELECT count(*) > 5000 FROM bench.load_rows"
		local slices=0
		: >"$place/desk.slice"
		while :; do
			desk slice "$DESK_SECONDS"
			# a slice in which the load ended says nothing
			[ "$($here -At -c 'SELECT initial_done FROM jacksync.stream_state')" = f ] || break
			slices=$((slices + 1))
			cat "$place/desk.slice" >>"$place/desk.with"
			: >"$place/desk.slice"
		done
		[ $slices = 0 ] && { echo "the load was over within $DESK_SECONDS s: set DESK higher"; drop_database; break; }
		sleep 1
		desk without $((slices * DESK_SECONDS))
		# what another busy process costs by itself
		$run /usr/bin/python3 -c 'while True: pass' &
		burner=$!
		desk busy $((slices * DESK_SECONDS))
		kill "$burner"
		wait "$burner" 2>/dev/null || true
		drop_database
	done
	stop_serving
	[ -s "$place/desk.without" ] || return 0
	awk -v w50="$(percentile "$place/desk.with" 50)" -v w99="$(percentile "$place/desk.with" 99)" \
		-v o50="$(percentile "$place/desk.without" 50)" -v o99="$(percentile "$place/desk.without" 99)" \
		-v b50="$(percentile "$place/desk.busy" 50)" -v b99="$(percentile "$place/desk.busy" 99)" \
		-v n="$(wc -l <"$place/desk.with")" 'BEGIN {
		printf "%d updates; median %.2f ms, without %.2f ms (%.2f x); p99 %.2f ms, without %.2f ms (%.2f x)\n",
			n, w50 / 1000, o50 / 1000, w50 / o50, w99 / 1000, o99 / 1000, w99 / o99
		printf "beside a process that only burns CPU: median %.2f ms (%.2f x), p99 %.2f ms (%.2f x)\n",
			b50 / 1000, b50 / o50, b99 / 1000, b99 / o99 }'
}

# A hotel of the tests (hotel.sql) at the sample PMS, in a database of its own.
hotel() {
	database=$1
	serve "$place/src/test/pms/fake_pms.py" --forever --reservations 200 --guests 1000
	$psql -d postgres -c "CREATE DATABASE $database"
	here="$psql -d $database"
	$here -c 'CREATE EXTENSION jacksync'
	$here -v pms="http://127.0.0.1:$port" -v token_url="http://127.0.0.1:$port/oauth/token" -v poll=1h -f "$place/src/test/hotel.sql" >/dev/null 2>&1
	worker=$($here -At -c 'SELECT jacksync.start_worker()')
}

# From a local edit to the request at the PMS, with a worker that sleeps.
latency() {
	printf '\nLATENCY: from an UPDATE to the request at the PMS, %s edits one by one, the worker idle\n' "$EDITS"
	hotel latency
	wait_until "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'"
	$here -c "CREATE TABLE edit (n int, at timestamptz);" -c "DO \$\$ BEGIN
		PERFORM pg_sleep(1);
		FOR i IN 1..$EDITS LOOP
			INSERT INTO edit VALUES (i, clock_timestamp());
			UPDATE guests SET tags = array['edit ' || i] WHERE external_id = 'GST-' || to_char(1 + i % 1000, 'FM000000');
			COMMIT;
			PERFORM pg_sleep(0.1 + random() * 0.2);
		END LOOP; END \$\$"
	wait_until "SELECT count(*) = 0 FROM jacksync.record WHERE sync_status <> 'synced'"
	$here -At -F ' ' -c "SELECT n, extract(epoch FROM at) FROM edit" >"$place/edits"
	/usr/bin/python3 "$place/src/test/bin/pms" "$port" log >"$place/requests"
	/usr/bin/python3 "$place/src/test/bench/latency.py" "$place/edits" "$place/requests"
	drop_database
	stop_serving
}

# Many servers that have nothing new: CPU and wake-ups of the worker.
many() {
	printf '\nMANY: 300 servers, each polled once a minute, nothing new; %s s\n' "$MANY_SECONDS"
	serve "$place/src/test/pms/fake_pms.py" --forever --rooms 3 --guests 1 --reservations 1
	database=many
	$psql -d postgres -c "CREATE DATABASE $database"
	here="$psql -d $database"
	/usr/bin/python3 "$place/src/test/bin/pms" "$port" config '{"auth": "none"}'
	$here -v pms="http://127.0.0.1:$port" -f "$place/src/test/bench/many.sql"
	worker=$($here -At -c 'SELECT jacksync.start_worker()')
	wait_until "SELECT count(*) = 300 FROM jacksync.stream_state WHERE initial_done"
	$here -c "UPDATE jacksync.stream_state SET next_due_at = now() + random() * interval '60 s'" -c 'SELECT jacksync.wake_worker()' >/dev/null
	# the first poll after that writes what others left; the next ones do not
	sleep "$MANY_SETTLE"
	local cpu0 turns0 lsn0 requests0
	cpu0=$(cpu_ms "$worker")
	turns0=$($here -At -c 'SELECT wakeups FROM jacksync.worker_status')
	requests0=$(/usr/bin/python3 "$place/src/test/bin/pms" "$port" log | grep -o '"method"' | wc -l)
	lsn0=$($here -At -c 'SELECT pg_current_wal_insert_lsn()')
	sleep "$MANY_SECONDS"
	$here -At -F ' ' -c "SELECT wakeups - $turns0, pg_current_wal_insert_lsn() - '$lsn0' FROM jacksync.worker_status" >"$place/many"
	awk -v cpu="$(cpu_ms "$worker")" -v cpu0="$cpu0" -v s="$MANY_SECONDS" -v rss="$(own_kb "$worker")" \
		-v n="$(($(/usr/bin/python3 "$place/src/test/bin/pms" "$port" log | grep -o '"method"' | wc -l) - requests0))" '{
		printf "%d polls: %.2f %% of a core, %.1f wake-ups a second, %d bytes of WAL a poll; %d kB of memory of its own\n",
			n, (cpu - cpu0) / s / 10, $1 / s, $2 / (n ? n : 1), rss }' "$place/many"
	drop_database
	stop_serving
}
