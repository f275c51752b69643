# CALL jacksync.sync() in a session beside the worker: progress, cancel, two
# at once; what operators do is audited with their names; progress is live.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $pms = JackSync::PMS->start(reservations => 60, guests => 20);
my $node = JackSync::Node::hotel('session', $pms, preload => 1, poll => '1 hour');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'in sync');

# the row of the run, with NOTICEs
$pms->edit('guests', 'GST-000001', { name => 'By Hand' });
my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('guests')");
is($status, 0, 'sync() works while the worker runs');
like($out, qr/^\d+\|.*\|t\|\d+\|0\|1\|/, "and returns the run's row");
like($err, qr/NOTICE:  guests from sample_pms: page 1, \d+ records so far/, 'with NOTICEs of progress');
is($sql->("SELECT name FROM guests WHERE external_id = 'GST-000001'"), 'By Hand', 'it has done its work');

# two at once for one stream: the second says so, and waits
$pms->faults({ kind => 'hang', match => { path => '/v1/guests' } });
my $one = $node->background_psql('postgres', on_error_stop => 0);
$one->query_until(qr/go/, "\\echo go\nCALL jacksync.sync('guests');\n");
$wait->("SELECT count(*) = 1 FROM jacksync.progress WHERE entity = 'guests' AND phase = 'pull'", 'progress shows a session that synchronises');
is($sql->("SELECT count(*) FROM jacksync.progress p JOIN pg_stat_activity a ON a.pid = p.pid WHERE a.backend_type = 'client backend'"), 1, 'with its process');
($status, $out, $err) = $node->psql('postgres', "SET statement_timeout = '1s'; CALL jacksync.sync('guests')");
like($err, qr/NOTICE:  another session or the worker is busy with guests from sample_pms; waiting/, 'two at once: the second says so');
like($err, qr/ERROR:  canceling statement due to statement timeout/, 'its waiting can be cancelled');

# cancel inside of a request
$sql->("SELECT pg_cancel_backend(pid) FROM jacksync.progress WHERE entity = 'guests'");
$wait->("SELECT count(*) = 0 FROM jacksync.progress", 'sync() can be cancelled inside of a request');
$pms->heal;
is($sql->("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> (SELECT pid FROM jacksync.worker_status)"), 0, 'and gives back its lock');
($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('guests')");
is($status, 0, 'the next one works');
eval { $one->quit; };

# inside a transaction it is refused, for a stream that is not there as well
($status, $out, $err) = $node->psql('postgres', "BEGIN; CALL jacksync.sync('guests')");
like($err, qr/cannot synchronize inside a transaction block/, 'not inside a transaction');
($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('nothing')");
like($err, qr/no enabled stream of entity "nothing".*HINT/s, 'an unknown entity is named');

# progress of an initial load; it survives the worker
$pms->faults({ kind => 'hang', match => { path => '/v1/reservations' } });
$sql->("UPDATE jacksync.stream_state SET initial_done = false, watermark = NULL; SELECT jacksync.sync_now('reservations')");
$wait->("SELECT count(*) = 1 FROM jacksync.progress WHERE phase = 'initial load'", 'progress shows an initial load');
my $pid = $sql->('SELECT pid FROM jacksync.worker_status');
$sql->("SELECT pg_terminate_backend($pid)");
$wait->("SELECT count(*) = 1 FROM jacksync.worker_status WHERE pid <> $pid AND state <> 'dead' AND wakeups IS NOT NULL", 'another worker');
$wait->("SELECT bool_and(pid <> $pid) FROM jacksync.progress", 'the slots of the dead one are not shown');
$pms->heal;
$sql->('SELECT jacksync.sync_now()');
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND last_sync > now() - interval '30 s'", 'and all is well');

# how many there will be, where the PMS tells
$pms->faults({ kind => 'hang', match => { path => '/v1/reservations', query => 'page=2' } });
$sql->("UPDATE jacksync.stream SET paginator = '{\"type\": \"page_number\", \"base_page\": 1, \"page_size\": 20, \"total_path\": \"\$.total\"}' WHERE entity = 'reservations';
	UPDATE jacksync.stream_state SET initial_done = false, watermark = NULL; SELECT jacksync.sync_now('reservations')");
$wait->("SELECT records_done = 20 AND records_total = 60 AND eta IS NOT NULL FROM jacksync.progress WHERE phase = 'initial load'", 'a total, and when it will be done');
$pms->heal;
$wait->("SELECT count(*) = 0 FROM jacksync.progress", 'it is done');

# sync_now() resets the back-off, the count of failures goes on
$pms->faults({ kind => 'status', status => 500, match => { path => '/v1/guests' } });
my $began = time;
$sql->("UPDATE jacksync.stream SET poll_interval = '100 ms' WHERE entity = 'guests'; SELECT jacksync.sync_now('guests')");
$wait->("SELECT failure_count >= 4 FROM jacksync.status WHERE entity = 'guests'", 'failures in a row');
my $count = $sql->("SELECT failure_count FROM jacksync.status WHERE entity = 'guests'");
# three delays, drawn from ever more: all of them short is one in two thousand
cmp_ok(time - $began, '>', 0.3, 'they wait longer and longer');
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT failure_count > $count FROM jacksync.status WHERE entity = 'guests'", 'sync_now() tries at once');
is($sql->("SELECT backoff_from >= $count AND failure_count > backoff_from FROM jacksync.stream_state t JOIN jacksync.stream s USING (stream_id) WHERE s.entity = 'guests'"), 't',
	'and the back-off begins anew, while the failures go on counting');
$pms->heal;
$sql->("UPDATE jacksync.stream SET poll_interval = '1 hour'; SELECT jacksync.sync_now('guests')");
$wait->("SELECT failure_count = 0 FROM jacksync.status WHERE entity = 'guests'", 'it recovers');

# who did it
$sql->("CREATE ROLE nina LOGIN; SELECT jacksync.grant_access('nina', 'admin')");
$sql->("INSERT INTO jacksync.sync_error (entity, server, external_id, sqlstate, error, state) VALUES ('guests', 'sample_pms', 'X1', '22P02', 'x', 'dead'), ('guests', 'sample_pms', 'X2', '22P02', 'x', 'dead')");
my $before = $sql->('SELECT coalesce(max(audit_id), 0) FROM jacksync.audit_log');
$node->safe_psql('postgres', "SELECT jacksync.pause('guests'); SELECT jacksync.resume('guests'); SELECT jacksync.resync('guests', 'GST-000002');
	SELECT jacksync.requeue(error_id) FROM jacksync.sync_error WHERE external_id = 'X1'; SELECT jacksync.discard(error_id, 'nonsense') FROM jacksync.sync_error WHERE external_id = 'X2';
	SELECT jacksync.forget('guests', 'GST-000003')", extra_params => [ '-U', 'nina' ]);
is($sql->("SELECT count(*), string_agg(DISTINCT resolved_by, ' ') FROM jacksync.audit_log WHERE audit_id > $before AND operation = 'manual_override'"),
	'6|nina', 'pause, resume, resync, requeue, discard and forget are audited with the name of who did it');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal 11/, 'nothing crashed');
done_testing();
