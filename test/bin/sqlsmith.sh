#!/bin/bash
# sqlsmith against a database that has jacksync: random queries that call its
# functions and read its views, as a role that may do all of that.  A crash, an
# assertion or an internal error of the extension is a failure.
#   sqlsmith.sh [MINUTES] [SEED]
set -euo pipefail
. "$(dirname "$0")"/common.sh
minutes=${1:-10}
seed=${2:-$RANDOM}
command -v sqlsmith >/dev/null || {
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends sqlsmith >/dev/null
}
make_place sqlsmith
finish() {
	status=$?
	$run pg_ctl -D "$place/data" -m immediate stop >/dev/null 2>&1 || true
	rm -rf "$place"
	exit $status
}
trap finish EXIT
copy_source
build
$run initdb -D "$place/data" -A trust -U postgres -E UTF8 --locale=C >/dev/null
{
	cat "$place/extra.conf"
	printf "unix_socket_directories = '%s'\nlisten_addresses = ''\nfsync = off\nlog_min_messages = fatal\n" "$place"
	printf "shared_preload_libraries = 'jacksync'\njacksync.databases = 'hotel'\n"
} >>"$place/data/postgresql.conf"
$run pg_ctl -D "$place/data" -l "$place/log" -w start >/dev/null
sql() { $run psql -X -q -v ON_ERROR_STOP=1 -h "$place" -U postgres "$@"; }
sql -c 'CREATE DATABASE hotel' postgres
sql -c 'CREATE EXTENSION jacksync' hotel
sql -v pms=http://127.0.0.1:1 -v token_url=http://127.0.0.1:1/t -v "poll=1 hour" -f "$place/src/test/hotel.sql" hotel >/dev/null
sql hotel >/dev/null <<-'SQL'
	SELECT jacksync.apply('reservations', jsonb_agg(jsonb_build_object('id', 'R' || i, 'guestName', 'g' || i,
		'checkInDate', '2024-01-01', 'checkOutDate', '2024-01-02', 'status', 'booked', 'specialRequests', '["a"]'::jsonb)))
		FROM generate_series(1, 50) i;
	UPDATE reservations SET guest_name = 'mine', special_requests = '{b}' WHERE id % 3 = 0;
	CREATE ROLE smith LOGIN;
	SELECT jacksync.grant_access('smith', 'admin');
	GRANT ALL ON ALL TABLES IN SCHEMA public, jacksync TO smith;
	-- all functions, also those that nobody may call: they must not crash
	GRANT EXECUTE ON ALL ROUTINES IN SCHEMA jacksync TO smith;
	REVOKE EXECUTE ON FUNCTION jacksync.start_worker() FROM smith;
	ALTER ROLE smith SET statement_timeout = '2s';
	ALTER ROLE smith SET lock_timeout = '500ms';
SQL
end=$(($(date +%s) + minutes * 60))
# it is a series of runs, because a rare statement keeps it for long
queries=0
while [ "$(date +%s)" -lt "$end" ]; do
	left=$((end - $(date +%s)))
	$run timeout $((left < 60 ? left + 1 : 60)) sqlsmith --target="host=$place dbname=hotel user=smith" \
		--exclude-catalog --seed="$seed" --verbose >"$place/out" 2>&1 || true
	n=$(grep -oE 'queries: [0-9]+' "$place/out" | tail -1 | grep -oE '[0-9]+' || echo 0)
	queries=$((queries + n))
	seed=$((seed + 1))
done
calls=$($run psql -XAt -h "$place" -U postgres -c "SELECT coalesce(sum(xact_commit + xact_rollback), 0) FROM pg_stat_database WHERE datname = 'hotel'" hotel)
if grep -E 'terminated by signal|PANIC|TRAP|was terminated|AddressSanitizer' "$place/log"; then
	tail -50 "$place/log"
	exit 1
fi
[ "$calls" -gt 100 ] || { echo "sqlsmith did nothing"; tail -5 "$place/out"; exit 1; }
echo "sqlsmith: $minutes minutes, $queries queries, $calls transactions, no crash (next seed $seed)"
