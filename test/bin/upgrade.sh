#!/bin/bash
# upgrade.sh FROM TO: pg_upgrade of a cluster with jacksync in it, both
# versions installed with their headers.  Run by multi.sh in its chroot, as
# root: it installs the extension there, and takes it away again.
set -euo pipefail
from=$1 to=$2
unset PG_CONFIG
place=$(mktemp -d /tmp/jacksync-upgrade.XXXXXX)
chown postgres "$place"
chmod 755 "$place"
run="setpriv --reuid=postgres --regid=$(id -g postgres) --clear-groups env -i PATH=/usr/bin:/bin HOME=$place LC_ALL=C.UTF-8"
bin() { echo "/usr/lib/postgresql/$1/bin"; }
installed=
finish() {
	status=$?
	trap - EXIT
	[ "$status" = 0 ] || tail -n 20 "$place"/*.log "$place"/*/pg_upgrade_output.d/*/log/*.log 2>/dev/null || true
	for version in $from $to; do
		$run "$(bin "$version")/pg_ctl" -D "$place/$version" stop -m immediate -s >/dev/null 2>&1 || true
	done
	for version in $installed; do
		make -s -C "$place/src" with_llvm=no "PG_CONFIG=$(bin "$version")/pg_config" uninstall >/dev/null
		[ ! -e "$("$(bin "$version")/pg_config" --pkglibdir)/jacksync.so" ] || { echo "make uninstall left something" >&2; status=1; }
	done
	rm -rf "$place"
	exit $status
}
trap finish EXIT

mkdir "$place/src"
(cd "$(dirname "$0")/../.." && tar cf - --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' .) | tar xf - -C "$place/src" --no-same-owner
for version in $from $to; do
	make -s -C "$place/src" with_llvm=no "PG_CONFIG=$(bin "$version")/pg_config" clean all install >"$place/build.log" 2>&1
	installed="$installed $version"
	checksums=
	[ "$version" -lt 18 ] || checksums=--no-data-checksums
	$run "$(bin "$version")/initdb" -D "$place/$version" -U postgres -A trust --no-sync $checksums >/dev/null
	cat >>"$place/$version/postgresql.conf" <<-EOT
		shared_preload_libraries = 'jacksync'
		jacksync.databases = 'hotel'
		listen_addresses = ''
		unix_socket_directories = '$place'
	EOT
done
sql() { $run "$(bin "$to")/psql" -X -q -At -v ON_ERROR_STOP=1 -h "$place" -U postgres -d hotel -c "$1"; }
look="SELECT external_id, local_id, sync_status, snapshot FROM jacksync.record ORDER BY 1;
	SELECT count(*), sum(audit_id) FROM jacksync.audit_log; SELECT entity, field, strategy FROM jacksync.authority ORDER BY 1, 2"

$run "$(bin "$from")/pg_ctl" -D "$place/$from" -l "$place/$from.log" -w -s start
$run "$(bin "$from")/createdb" -h "$place" -U postgres hotel
sql "CREATE EXTENSION jacksync;
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('guests', 'tags', 'merge');
	CREATE TABLE guests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, tags text[]);
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('guests', 'guests');
	SELECT jacksync.apply('guests', '[{\"id\": \"G1\", \"name\": \"Ada\", \"tags\": [\"vip\"]}, {\"id\": \"G2\", \"name\": \"Eve\", \"tags\": []}]');
	UPDATE guests SET name = 'Changed', tags = '{vip,waits}' WHERE external_id = 'G1';
	SELECT jacksync.apply('guests', '[{\"id\": \"G1\", \"name\": \"Ada\", \"tags\": [\"vip\"]}]')" >/dev/null
before=$(sql "$look")
$run "$(bin "$from")/pg_ctl" -D "$place/$from" -w -s stop

(cd "$place" && $run "$(bin "$to")/pg_upgrade" -b "$(bin "$from")" -B "$(bin "$to")" -d "$place/$from" -D "$place/$to" -U postgres >"$place/pg_upgrade.log" 2>&1) ||
	{ tail -n 20 "$place/pg_upgrade.log"; exit 1; }
$run "$(bin "$to")/pg_ctl" -D "$place/$to" -l "$place/$to.log" -w -s start
[ "$(sql "$look")" = "$before" ] || { echo "not all came along from $from to $to" >&2; diff <(echo "$before") <(sql "$look"); exit 1; }
# a change is captured, the next record decided, and numbering goes on
sql "UPDATE guests SET tags = '{vip,after}' WHERE external_id = 'G2'" >/dev/null
[ "$(sql "SELECT sync_status FROM jacksync.record WHERE external_id = 'G2'")" = local_modified ] || { echo "no capture after pg_upgrade" >&2; exit 1; }
sql "SELECT jacksync.apply('guests', '[{\"id\": \"G2\", \"name\": \"Eva\", \"tags\": []}, {\"id\": \"G3\", \"name\": \"New\"}]')" >/dev/null
[ "$(sql "SELECT string_agg(name, ' ' ORDER BY id) FROM guests")" = "Ada Eva New" ] || { echo "no apply after pg_upgrade" >&2; exit 1; }
echo "pg_upgrade from $from to $to: ok"
printf '\n1 passed, 0 failed\n'
