# The walk of a comparison breaks off in the middle, in every way in which it
# can: by the PMS, by its credentials, by a write of our own, in the worker and
# in a session.  What was not seen is not judged; the next one makes up for it.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 3);
my $node = JackSync::Node::hotel('midway', $pms, preload => 1, poll => '100 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };
my $mine = "s.entity = 'reservations'";
my $page = sub { return { path => '/v1/reservations$', query => "page=$_[0]" } };
my $last = "SELECT r.success, r.error FROM jacksync.sync_run r WHERE r.entity = 'reservations' AND r.kind = 'reconcile' ORDER BY r.run_id DESC LIMIT 1";
my $runs = "SELECT count(*) FROM jacksync.sync_run r WHERE r.entity = 'reservations' AND r.kind = 'reconcile' AND r.completed IS NOT NULL";
my $due = "UPDATE jacksync.reconcile_state r SET done_at = '-infinity' FROM jacksync.stream s WHERE s.stream_id = r.stream_id AND $mine";
my $well = "SELECT status = 'connected' AND last_sync > '%s' FROM jacksync.status s WHERE $mine";
my $now = sub { return $sql->('SELECT clock_timestamp()'); };

$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete'; UPDATE jacksync.stream SET lookback_window = '0', paginator = paginator || '{\"page_size\": 5}'");
$wait->("SELECT count(*) = 20 FROM reservations", 'the hotel is loaded');
$wait->("SELECT count(*) = 2 FROM jacksync.reconcile_state WHERE done_at IS NOT NULL", 'which counts as a comparison');

# what no feed tells of: a record that is gone, which is missing on the first page already, and one that has
# changed and one that is new behind it
$pms->vanish('reservations', 'RES-000002');
my $changed = $pms->record('reservations', 'RES-000018');
$pms->put('reservations', 'RES-000018', { %$changed, roomNumber => '999' });
$pms->put('reservations', 'RES-000021', { %{ $pms->record('reservations', 'RES-000015') }, id => 'RES-000021', guestName => 'Nobody told' });

my $half = "SELECT string_agg(concat_ws(' ', external_id, room_number), ', ' ORDER BY external_id) FROM reservations WHERE external_id IN ('RES-000002', 'RES-000018', 'RES-000021')";
my $as_it_was = $sql->($half);
like($as_it_was, qr/^RES-000002 \d+, RES-000018 (?!999)\d+$/, 'what there is to be found');

# nothing follows from half a comparison, and it is told that it failed
my $untouched = sub {
	my ($words, $what) = @_;
	like($sql->($last), $words, "$what: the comparison failed, in words");
	is($sql->($half), $as_it_was, 'nothing was deleted, repaired or inserted');
	is($sql->("SELECT (SELECT count(*) FROM jacksync.pending_delete), (SELECT count(*) FROM jacksync.drift), (SELECT count(*) FROM jacksync.link WHERE state <> 'l')"),
		'0|0|0', 'nothing is suspected');
	is($sql->("SELECT r.progress IS NULL, r.done_at BETWEEN now() - interval '24 h' AND now() - interval '22 h' FROM jacksync.reconcile_state r JOIN jacksync.stream s USING (stream_id) WHERE $mine"),
		't|t', 'it is begun anew in an hour');
	is($sql->("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid NOT IN (SELECT pid FROM jacksync.worker_status)"), 0, 'no lock is left');
};

# the worker: the PMS answers the second page with an error, or not at all, again and again
my ($n, $edits) = ($sql->($runs), 0);
foreach my $case (
	[ { kind => 'status', status => 500 }, qr/^f\|.*HTTP 500/, 'an error of the PMS' ],
	[ { kind => 'down' }, qr/^f\|.*broke/, 'a connection that breaks' ],
	[ { kind => 'truncate' }, qr/^f\|.*broke/, 'half an answer' ])
{
	my ($fault, $words, $what) = @$case;
	my $pages = $pms->requests('GET', qr{^/v1/reservations$});
	$pms->faults({ %$fault, match => $page->(2) });
	$sql->($due);
	$n++;
	$wait->("SELECT ($runs) = $n", "$what in the midst of the worker's comparison");
	$untouched->($words, $what);
	# the stream itself is well, though the fault is still there
	$pms->edit('reservations', 'RES-000007', { roomNumber => 'W' . ++$edits });
	$wait->("SELECT room_number = 'W$edits' FROM reservations WHERE external_id = 'RES-000007'", 'changes still come');
	$wait->(sprintf($well, $now->()), 'the stream is well');
	is($sql->($runs), $n, 'and the comparison is left alone');
	$pms->heal;
}

# a session, step by step: the worker is not in the way
$sql->("UPDATE jacksync.stream SET poll_interval = '1 day'");
$sql->("SELECT jacksync.sync_now('reservations')");
$wait->("SELECT next_sync > now() + interval '1 h' FROM jacksync.status s WHERE $mine", 'the worker rests');
$wait->("SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN jacksync.stream s ON l.objid = s.stream_id::oid WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND $mine)",
	'and has ended its cycle');
$n = $sql->($runs);
my $sync = sub { return $sql->("CALL jacksync.sync('reservations')"); };

# the token is refused in the midst of it, and there is no new one: here it is not the walk that fails, but the request
$sql->($due);
$pms->faults({ kind => 'status', status => 401, match => $page->(3) }, { kind => 'status', status => 503, match => { path => '/oauth/token' } });
like($sync->(), qr/\|t\|/, 'no new token in the midst of a comparison: the poll itself was complete');
is($sql->($runs), ++$n, 'it was a comparison');
$untouched->(qr/^f\|.*503/, 'no new token');
$pms->heal;

# a write of our own fails, with the next page under way
$sql->("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE disk_full USING MESSAGE = ''no space left''; END';
	CREATE TRIGGER full_disk BEFORE UPDATE ON jacksync.reconcile_state FOR EACH ROW
	WHEN (OLD.progress IS NOT NULL AND NEW.progress IS NOT NULL) EXECUTE FUNCTION full_disk()");
$sql->($due);
like($sync->(), qr/\|t\|/, 'an error of our own in the midst of a comparison: the poll itself was complete');
is($sql->($runs), ++$n, 'it was a comparison');
$untouched->(qr/^f\|no space left/, 'an error of our own');
$sql->("DROP TRIGGER full_disk ON jacksync.reconcile_state");

# the next one makes up for all of it
$sync->();
is($sql->($runs), $n, 'not before the hour is over');
$sql->("$due; UPDATE jacksync.stream SET poll_interval = '100 ms'; SELECT jacksync.sync_now('reservations')");
$wait->("SELECT ($runs) = $n + 1", 'then the worker compares again');
is($sql->($last), 't|', 'to the end');
$wait->("SELECT NOT EXISTS (SELECT FROM jacksync.pending_delete)", 'and sees to what is gone');
is($sql->($half), 'RES-000018 999, RES-000021 ' . $pms->record('reservations', 'RES-000021')->{roomNumber},
	'what is gone is deleted, what was missed is taken, what is new is there');
is($sql->("SELECT string_agg(concat_ws(' ', external_id, field, reason), ', ' ORDER BY external_id) FROM jacksync.drift"),
	'RES-000002 missing_at_pms, RES-000018 roomNumber missed_at_pms, RES-000021 missing_here', 'and written down');
is($sql->("SELECT count(*) FROM reservations"), 20, 'the others are as they were');
my $told = "SELECT count(*) FROM jacksync.alert WHERE kind = 'drift' AND resolved_at IS NULL";
is($sql->($told), 1, 'and somebody is told');

# one that finds nothing is another run, and says so
is($sql->("SELECT count(*), count(*) FILTER (WHERE success) FROM jacksync.sync_run WHERE kind = 'reconcile' AND entity = 'reservations'"), ++$n . '|1',
	'each of them has a run of its own');
$sql->($due);
$wait->("SELECT ($runs) = $n + 1", 'the next comparison');
is($sql->("SELECT r.success, r.updated, r.started > (SELECT max(o.completed) FROM jacksync.sync_run o WHERE o.kind = 'reconcile' AND o.entity = r.entity AND o.run_id < r.run_id) FROM jacksync.sync_run r WHERE r.kind = 'reconcile' AND r.entity = 'reservations' ORDER BY r.run_id DESC LIMIT 1"),
	't|0|t', 'finds nothing');
is($sql->($told), 0, 'and the alert is over');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal|reference leak/, 'nothing crashed');
done_testing();
