# The background worker: start, schedule, wake-ups, network faults, stop.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use Test::More;

my $pms = JackSync::PMS->start(reservations => 30, guests => 10);
my $node = JackSync::Node::hotel('worker', $pms, preload => 1, poll => '300 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };

$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'the worker loads and says so');
is($sql->('SELECT count(*) FROM reservations'), 30, 'all records');
$wait->("SELECT count(*) = 1 FROM jacksync.worker_status WHERE state <> 'dead'", 'the worker is in worker_status');
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND state = 'idle' AND query <> ''", 'and in pg_stat_activity, with what it did last');

$pms->edit('guests', 'GST-000001', { name => 'Grace Example' });
$wait->("SELECT name = 'Grace Example' FROM guests WHERE external_id = 'GST-000001'", 'a change of the PMS arrives');

# a commit wakes it
$sql->("UPDATE jacksync.stream SET poll_interval = '1 hour'");
$wait->("SELECT bool_and(next_sync > now() + '10 min') FROM jacksync.status", 'the interval takes effect without a restart');
my $started = time;
$sql->("UPDATE guests SET tags = '{vip}' WHERE external_id = 'GST-000002'");
for (1 .. 100) { last if "@{ $pms->record('guests', 'GST-000002')->{tags} }" =~ /vip/; select undef, undef, undef, 0.02; }
like("@{ $pms->record('guests', 'GST-000002')->{tags} }", qr/vip/, 'a commit wakes the worker, which pushes');
cmp_ok(time - $started, '<', 2, 'at once');
$wait->("SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'GST-000002'", 'the record is synced');

# sync_now() wakes it too
$pms->edit('guests', 'GST-000003', { name => 'Woken' });
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT name = 'Woken' FROM guests WHERE external_id = 'GST-000003'", 'sync_now() wakes the worker');

# faults: each is an error in sync_run and status, never a crash
$sql->("UPDATE jacksync.stream SET poll_interval = '200 ms'");
my @faults = (
	[ { kind => 'down' }, qr/connection|connect/i, 'a PMS that hangs up' ],
	[ { kind => 'status', status => 503 }, qr/HTTP 503/, '503' ],
	[ { kind => 'garbage' }, qr/not valid JSON/, 'half of a JSON text' ],
	[ { kind => 'html' }, qr/not valid JSON.*Please log in/, 'a login page' ],
	[ { kind => 'raw', body => '{"message": "no records"}' }, qr/nothing at/, 'an answer without records' ],
	[ { kind => 'truncate' }, qr/broke|answer/, 'a truncated answer' ],
	[ { kind => 'redirect', location => 'http://127.0.0.1:1/' }, qr/redirect/, 'a redirect' ],
	[ { kind => 'gzip_bomb', megabytes => 40 }, qr/too large/, 'a gzip bomb' ],
	[ { kind => 'raw', body => '{"data": ' . ('[' x 100) . (']' x 100) . '}' }, qr/nested too deeply/, 'deep nesting' ]);
for my $case (@faults)
{
	my ($fault, $message, $what) = @$case;
	$pms->faults({ %$fault, match => { path => '/v1/guests' } });
	$sql->("SELECT jacksync.sync_now('guests')");
	$wait->("SELECT coalesce(status = 'error' AND failure_count > 0, false) FROM jacksync.status WHERE entity = 'guests'",
		"$what is an error in status");
	like($sql->("SELECT message FROM jacksync.status WHERE entity = 'guests'"), $message, 'in words');
	$pms->heal;
	$sql->("SELECT jacksync.sync_now('guests')");
	$wait->("SELECT status = 'connected' FROM jacksync.status WHERE entity = 'guests'", 'and it recovers');
}
is($sql->("SELECT status FROM jacksync.status WHERE entity = 'reservations'"), 'connected', 'the other stream went on');
is($sql->('SELECT count(*) FROM guests'), 10, 'nothing was lost');

# spoilt records are put aside, their page goes on
$pms->faults({ kind => 'raw', count => 1, match => { path => '/v1/guests' }, body =>
	'{"data": [{"id": "BAD-1", "name": "a\u0000b"}, {"id": "BAD-2", "name": "x", "name": "y"}, {"id": "GOOD-1", "name": "Good"}], "hasMore": false}' });
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT count(*) = 1 FROM guests WHERE external_id = 'GOOD-1'", 'a good record beside spoilt ones is applied');
is($sql->("SELECT string_agg(external_id || ':' || state, ' ' ORDER BY external_id) FROM jacksync.sync_error WHERE external_id LIKE 'BAD%'"),
	'BAD-1:dead BAD-2:dead', 'the spoilt ones are dead letters');

# a PMS that hangs: no transaction is open, and nobody waits
$pms->faults({ kind => 'hang', match => { path => '/v1/guests' } });
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT count(*) > 0 FROM jacksync.sync_run WHERE entity = 'guests' AND completed IS NULL", 'a request hangs');
$wait->("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)",
	'and no transaction is open meanwhile');
$pms->edit('reservations', 'RES-000001', { roomNumber => '999' });
$wait->("SELECT room_number = '999' FROM reservations WHERE external_id = 'RES-000001'", 'the other stream is not delayed');
$sql->('CREATE DATABASE other');
$started = time;
$sql->('DROP DATABASE other');
cmp_ok(time - $started, '<', 2, 'DROP DATABASE of another database is not blocked');

# the worker's own database can be renamed and dropped
$sql->('CREATE DATABASE annex');
$node->append_conf('postgresql.conf', "jacksync.databases = 'postgres, annex'");
$node->reload;
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND datname = 'annex'", 'a database is added by a reload');
$sql->('CREATE ROLE nobody LOGIN');
my ($nope, $none, $why) = $node->psql('postgres', 'SET ROLE nobody; DROP DATABASE annex');
like($why, qr/must be owner/, 'who may not drop it');
is($sql->("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND datname = 'annex'"), 1, 'does not disturb the worker');
$started = time;
$sql->('ALTER DATABASE annex RENAME TO annex2');
$sql->('ALTER DATABASE annex2 RENAME TO annex');
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND datname = 'annex'", 'after ALTER DATABASE RENAME the worker is back');
$sql->('DROP DATABASE annex');
cmp_ok(time - $started, '<', 30, 'DROP DATABASE with a worker in it');
$node->append_conf('postgresql.conf', "jacksync.databases = 'postgres'");
$node->reload;

# it ends at once, and comes back
my $pid = $sql->('SELECT pid FROM jacksync.worker_status');
$started = time;
$sql->("SELECT pg_terminate_backend($pid)");
$wait->("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid", 'the worker ends inside of a request');
cmp_ok(time - $started, '<', 2, 'within two seconds');
$pms->heal;
$wait->("SELECT count(*) = 1 FROM jacksync.worker_status WHERE pid <> $pid AND state <> 'dead'", 'and another one is started');
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'which goes on');

# DROP EXTENSION and CREATE EXTENSION while it runs
$sql->('DROP EXTENSION jacksync CASCADE');
select undef, undef, undef, 0.5;
is($sql->("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'"), 1, 'DROP EXTENSION does not disturb the worker');
$sql->('DROP TABLE reservations, guests');
$sql->('CREATE EXTENSION jacksync');
JackSync::Node::configure($node, 'postgres', $pms, '300 ms');
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'after CREATE EXTENSION it works again');

# immediate stop in the midst of work; a crash loses nothing
$sql->("UPDATE reservations SET special_requests = '{before the crash}' WHERE external_id = 'RES-000002'");
$node->stop('immediate');
$node->start;
$wait->("SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'RES-000002'", 'after a crash the change is pushed');
like("@{ $pms->record('reservations', 'RES-000002')->{specialRequests} }", qr/before the crash/, 'and the PMS has it');

$started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', 5, 'a fast shutdown is fast');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal 11/, 'nothing crashed');
done_testing();
