#!/bin/sh
# make demo: jacksync at work, on a throwaway cluster and a sample PMS.
# KEEP=1 leaves both running to look around.
set -eu
"$(dirname "$0")"/deps.sh
. "$(dirname "$0")"/common.sh

bold= dim= plain=
[ -t 1 ] && { bold=$(printf '\033[1m'); dim=$(printf '\033[2m'); plain=$(printf '\033[0m'); }
step=0
say() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" "$step" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }

finish() {
	status=$?
	trap - EXIT INT TERM
	if [ "$status" != 0 ]; then
		echo "the demo failed; the last lines of the server log:" >&2
		tail -15 "$place/log" >&2 2>/dev/null || true
	fi
	if [ "${KEEP:-}" = 1 ] && [ "$status" = 0 ]; then
		cat <<EOT

Everything is still running.  Look around:

    ${bold}psql -h $place -p 5432 -U postgres hotel${plain}

    SELECT * FROM jacksync.status;
    SELECT * FROM jacksync.record LIMIT 5;
    SELECT * FROM jacksync.audit_log;

and when you are done:

    $bindir/pg_ctl -D $place/data stop -m fast; kill $pms_pid; rm -rf $place
    (as root: prefix pg_ctl with "runuser -u $user --")
EOT
		exit 0
	fi
	$run pg_ctl -D "$place/data" stop -m fast -s >/dev/null 2>&1 || true
	[ -n "${pms_pid:-}" ] && kill "$pms_pid" 2>/dev/null || true
	rm -rf "$place"
	exit "$status"
}

make_place demo
pms_pid=
trap finish EXIT
trap 'exit 130' INT TERM

printf '%sjacksync: a hotel'"'"'s tables in sync with its PMS%s\n' "$bold" "$plain"
note "building for PostgreSQL $version, in $place"
copy_source
build

$run initdb -D "$place/data" -U postgres -A trust --no-sync >/dev/null
{
	cat "$place/extra.conf"
	cat <<EOT
shared_preload_libraries = 'jacksync'
jacksync.databases = 'hotel'
listen_addresses = ''
unix_socket_directories = '$place'
fsync = on
timezone = 'UTC'
EOT
} | $run tee -a "$place/data/postgresql.conf" >/dev/null
$run pg_ctl -D "$place/data" -l "$place/log" -w -s start

# the sample PMS outlives this script only with KEEP=1
mkfifo "$place/port"
chown "$user" "$place/port" 2>/dev/null || true
$run /usr/bin/python3 "$place/src/test/pms/fake_pms.py" --forever --reservations 2000 --guests 1500 \
	>"$place/port" 2>"$place/pms.log" &
pms_pid=$!
read -r port <"$place/port"

psql="$run psql -X -q -h $place -U postgres -d hotel -v ON_ERROR_STOP=1"
sql() { $psql -P pager=off -P border=0 -c "$1" | sed -e '/^(.* row.*)$/d' -e '/^$/d' -e 's/^/      /'; }
show() { printf '   %s=> %s%s\n' "$dim" "$1" "$plain"; sql "$1"; }
value() { $psql -At -c "$1"; }
wait_for() {
	i=0
	while [ "$(value "$1")" != t ]; do
		i=$((i + 1))
		[ $i -gt 300 ] && { echo "this did not happen: $1" >&2; exit 1; }
		sleep 0.1
	done
}
pms() { $run /usr/bin/python3 "$place/src/test/bin/pms" "$port" "$@"; }
field() { pms record reservations "$1" | sed -n "s/.*\"$2\": \(\"[^\"]*\"\|\[[^]]*\]\|[^,}]*\).*/\1/p"; }

$run psql -X -q -h "$place" -U postgres -d postgres -c 'CREATE DATABASE hotel'

say "A server, two bound tables, the standard rules of a hotel"
note "the sample PMS listens on 127.0.0.1:$port; it wants an OAuth token and gives pages of 500"
show "CREATE EXTENSION jacksync"
note "test/hotel.sql: CREATE SERVER, CREATE USER MAPPING, load_config(hotel_config()), two entities, two streams"
$psql -v pms="http://127.0.0.1:$port" -v token_url="http://127.0.0.1:$port/oauth/token" \
	-v poll=1s -f "$place/src/test/hotel.sql" >/dev/null

say "The background worker loads what the PMS has"
wait_for "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'"
show "SELECT entity, records_processed, created, completed - started AS took FROM jacksync.sync_run WHERE created > 0 ORDER BY 1"
show "SELECT entity, status, last_sync::timestamp(0), pending_push FROM jacksync.status ORDER BY 1"

say "The PMS changes a reservation; it arrives here"
note "the front desk of the PMS moves RES-000042 to room 512"
pms edit reservations RES-000042 '{"roomNumber": "512"}'
wait_for "SELECT room_number = '512' FROM reservations WHERE external_id = 'RES-000042'"
show "SELECT external_id, guest_name, room_number FROM reservations WHERE external_id = 'RES-000042'"

say "Both sides edit the special requests; the field is merged three ways"
pms edit reservations RES-000007 '{"specialRequests": ["cot", "quiet room"]}'
wait_for "SELECT special_requests = '{cot,quiet room}' FROM reservations WHERE external_id = 'RES-000007'"
note "base: {cot, quiet room}; the PMS removes \"cot\" and adds \"sea view\"; here we add \"late check-in\""
pms edit reservations RES-000007 '{"specialRequests": ["quiet room", "sea view"]}'
sql "UPDATE reservations SET special_requests = special_requests || '{late check-in}' WHERE external_id = 'RES-000007'"
wait_for "SELECT special_requests @> '{sea view,late check-in}' AND NOT special_requests @> '{cot}' FROM reservations WHERE external_id = 'RES-000007'"
wait_for "SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'RES-000007'"
show "SELECT special_requests FROM reservations WHERE external_id = 'RES-000007'"
note "and the PMS has: $(field RES-000007 specialRequests)"

say "A local edit of a field that the PMS owns is undone, and audited"
sql "UPDATE reservations SET guest_name = 'Somebody Else' WHERE external_id = 'RES-000099'"
wait_for "SELECT guest_name <> 'Somebody Else' FROM reservations WHERE external_id = 'RES-000099'"
show "SELECT field, before_state, after_state, conflict_details ->> 'reason' AS reason FROM jacksync.audit_log WHERE external_id = 'RES-000099'"

say "A field held for a person: nobody wins by accident"
note "the rate code gets the strategy \"manual\"; both sides change it while the PMS is not asked"
sql "UPDATE jacksync.authority SET strategy = 'manual' WHERE entity = 'reservations' AND field = 'rateCode'"
sql "SELECT jacksync.pause('reservations')" >/dev/null
sleep 0.5
pms edit reservations RES-000123 '{"rateCode": "CORP2027"}'
sql "UPDATE reservations SET rate_code = 'LOYAL' WHERE external_id = 'RES-000123'"
sql "SELECT jacksync.resume('reservations')" >/dev/null
wait_for "SELECT count(*) = 1 FROM jacksync.manual_conflict WHERE status = 'pending'"
show "SELECT conflict_id, external_id, field, base_value, local_value, pms_value FROM jacksync.manual_conflict"
conflict=$(value "SELECT conflict_id FROM jacksync.manual_conflict WHERE status = 'pending'")
show "SELECT jacksync.resolve_conflict($conflict, 'local')"
wait_for "SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'RES-000123'"
note "the PMS has learned of it: rateCode is $(field RES-000123 rateCode)"

say "A local change of a field that is pushed arrives at the PMS"
started=$(date +%s%N)
sql "UPDATE guests SET tags = '{vip}' WHERE external_id = 'GST-000001'"
until pms record guests GST-000001 | grep -q '"vip"'; do sleep 0.05; done
note "after $((($(date +%s%N) - started) / 1000000)) ms (with the time that this script needs to look) the PMS has the tag \"vip\""

say "The PMS goes down: the data grows old, and dangerous operations are refused"
note "for the demo, reservations count as stale after 2 s and as critical after 5 s"
sql "UPDATE jacksync.stale_policy SET max_stale_age = '2 s', critical_stale_age = '5 s' WHERE entity = 'reservations'"
pms faults '[{"kind": "down", "match": {"path": "."}}]'
wait_for "SELECT status = 'stale' FROM jacksync.check_freshness('reservations', 'check_in')"
show "SELECT status, can_perform_operation AS may_check_in, warning FROM jacksync.check_freshness('reservations', 'check_in')"
wait_for "SELECT status = 'critical' FROM jacksync.check_freshness('reservations', 'check_in')"
show "SELECT status, can_perform_operation AS may_check_in, warning FROM jacksync.check_freshness('reservations', 'check_in')"
note "an UPDATE that is a check-in (jacksync.operation_guard says which is) is refused in its own transaction"
check_in="UPDATE reservations SET status = 'checked_in' WHERE external_id = 'RES-000001'"
printf '   %s=> %s%s\n' "$dim" "$check_in" "$plain"
if $psql -v VERBOSITY=verbose -c "$check_in" >"$place/refused" 2>&1; then
	echo "check-in was not refused" >&2
	exit 1
fi
grep -E '^(ERROR|HINT)' "$place/refused" | sed 's/^/      /'
note "a local edit meanwhile is kept"
sql "UPDATE reservations SET special_requests = '{made while the PMS was down}' WHERE external_id = 'RES-000500'"
show "SELECT external_id, sync_status FROM jacksync.record WHERE external_id = 'RES-000500'"
wait_for "SELECT EXISTS (SELECT FROM jacksync.alert WHERE kind = 'consecutive_failures' AND entity = 'reservations')"
show "SELECT level, title, message FROM jacksync.alert WHERE resolved_at IS NULL AND entity = 'reservations' AND kind IN ('consecutive_failures', 'stale_data')"

say "It comes back: recovery"
pms heal
sql "SELECT jacksync.sync_now()" >/dev/null
wait_for "SELECT status = 'fresh' FROM jacksync.check_freshness('reservations', 'check_in')"
wait_for "SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'RES-000500'"
wait_for "SELECT EXISTS (SELECT FROM jacksync.alert WHERE title = 'PMS Sync Recovered')"
wait_for "SELECT bool_and(status = 'connected') FROM jacksync.status"
note "the edit that waited is there: $(field RES-000500 specialRequests)"
show "SELECT level, title, message FROM jacksync.alert WHERE title = 'PMS Sync Recovered' LIMIT 1"
show "SELECT entity, status, failure_count FROM jacksync.status ORDER BY 1"

printf '\n%sThat was jacksync.%s  ' "$bold" "$plain"
if [ "${KEEP:-}" != 1 ]; then
	echo "make demo KEEP=1 leaves it running for you to look around with:"
	echo "    psql -h /tmp/jacksync-demo.XXXXXX -p 5432 -U postgres hotel"
fi
