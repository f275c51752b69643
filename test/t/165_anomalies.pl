# The anomalies that other products document as expected, by the names of the
# reliability notes: here they do not happen.  (A1 to A3, A5 and A6 are in the
# tests of writing.)
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);
use Test::More;

my $pms = JackSync::PMS->start(reservations => 40, guests => 5);
my $node = JackSync::Node::hotel('anomalies', $pms, preload => 1, poll => '300 ms', conf => "max_prepared_transactions = 2\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, $_[0], $_[1]); };
my $there = sub { return join ' ', sort @{ $pms->record('reservations', $_[0])->{specialRequests} // [] }; };
my $synced = sub { $wait->("SELECT sync_status = 'synced' AND NOT EXISTS (SELECT FROM jacksync.change) FROM jacksync.record WHERE external_id = '$_[0]'", $_[1]); };
my $tag = sub { return "UPDATE reservations SET special_requests = coalesce(special_requests, '{}') || '{$_[1]}'::text[] WHERE external_id = '$_[0]'"; };
my $session = sub {
	my $s = $node->background_psql('postgres');
	return $s;
};
# run(session, statements): and wait until they are done
my $n = 0;
my $run = sub {
	my ($s, $text) = @_;
	$n++;
	$s->query_until(qr/done $n\b/, "$text;\n\\echo done $n\n");
	return;
};
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

# A4 TRUNCATE
my ($status, $out, $err) = $node->psql('postgres', 'TRUNCATE reservations');
like($err, qr/cannot truncate table "reservations" because it is synchronized by jacksync.*HINT:  Use DELETE/s, 'A4: TRUNCATE is refused, with a hint');
($status, $out, $err) = $node->psql('postgres', 'CREATE TABLE parent (id integer PRIMARY KEY); CREATE TABLE also (r bigint REFERENCES reservations); TRUNCATE reservations CASCADE');
like($err, qr/cannot truncate table "reservations"/, 'A4: also with CASCADE');
is($sql->('SELECT count(*) FROM reservations'), 40, 'A4: nothing is gone');

# A7 a long local transaction: nothing is skipped, nobody waits for it
my $long = $session->();
$run->($long, 'BEGIN; ' . $tag->('RES-000001', 'long'));
$sql->($tag->('RES-000002', 'short'));
$synced->('RES-000002', 'A7: while a transaction is open, others\' changes go out');
like($there->('RES-000002'), qr/short/, 'A7: and arrive');
$pms->edit('reservations', 'RES-000003', { roomNumber => '333' });
$wait->("SELECT room_number = '333' FROM reservations WHERE external_id = 'RES-000003'", 'A7: and the PMS\'s changes come in');
# A9 the changes of later transactions have been taken up long ago: the gap is no gap
$sql->($tag->('RES-000002', "later$_")) for 1 .. 3;
$synced->('RES-000002', 'A9: later changes are taken up meanwhile');
$sql->("UPDATE jacksync.stream_state SET watermark = watermark + interval '20 min'; SELECT jacksync.purge(1000)");
$run->($long, 'COMMIT');
$synced->('RES-000001', 'A7: what commits late');
like($there->('RES-000001'), qr/long/, 'A7, A9: is not skipped, however late');
$sql->("UPDATE jacksync.stream_state SET watermark = watermark - interval '20 min'");

# P26 a prepared transaction that was forgotten: only its row waits
$sql->("BEGIN; " . $tag->('RES-000004', 'prepared') . "; PREPARE TRANSACTION 'forgotten'");
$pms->edit('reservations', 'RES-000004', { roomNumber => '444' });
$sql->($tag->('RES-000005', 'beside'));
$synced->('RES-000005', 'P26: beside a prepared transaction others go on');
$wait->("SELECT count(*) = 1 FROM jacksync.sync_error WHERE external_id = 'RES-000004' AND state = 'waiting'", 'P22, P26: a row that is held is put aside');
$node->restart;
$wait->("SELECT count(*) = 1 FROM jacksync.worker_status WHERE state <> 'dead'", 'P26: a restart does not change that');
$sql->("COMMIT PREPARED 'forgotten'");
$wait->("SELECT room_number = '444' FROM reservations WHERE external_id = 'RES-000004'", 'P26: committed, the PMS\'s change comes in');
$synced->('RES-000004', 'P26: and the local one');
like($there->('RES-000004'), qr/prepared/, 'P26: goes out');

# A8 many records with the same time, more than a page holds, and some that
# get that time later than we have read it
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 7}', lookback_window = '0'");
my $stamp = $pms->record('reservations', 'RES-000003')->{updatedAt};
my %same = map { my $id = sprintf 'RES-%06d', $_; ($id => { %{ $pms->record('reservations', $id) }, roomNumber => "same$_", updatedAt => $stamp }) } 10 .. 39;
$pms->put('reservations', $_, $same{$_}) for grep { $_ lt 'RES-000030' } sort keys %same;
$sql->("UPDATE jacksync.stream_state SET watermark = '$stamp'");
$wait->("SELECT count(*) = 20 FROM reservations WHERE room_number LIKE 'same%'", 'A8: 20 records of the same time in pages of 7');
$pms->put('reservations', $_, $same{$_}) for grep { $_ ge 'RES-000030' } sort keys %same;
$sql->("UPDATE jacksync.stream_state SET watermark = '$stamp'");
$wait->("SELECT count(*) = 30 FROM reservations WHERE room_number LIKE 'same%'", 'A8: and those that get that time afterwards');
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 500}', lookback_window = '5 min'");

# A10 a partition: everything is in the status while it lasts, and moves when it is over
$pms->faults({ kind => 'down', match => { path => '.' } });
$sql->($tag->(sprintf('RES-%06d', $_), 'partition')) for 1 .. 9;
$wait->("SELECT status = 'error' AND pending_push >= 9 FROM jacksync.status WHERE entity = 'reservations'", 'A10: a partition is an error in status, with what waits');
is($sql->("SELECT count(*) FROM jacksync.record WHERE entity = 'reservations' AND sync_status = 'local_modified'"), 9, 'A10: the records say so, too');
$pms->heal;
$sql->('SELECT jacksync.sync_now()');
$wait->("SELECT count(*) = 0 FROM jacksync.record WHERE sync_status <> 'synced'", 'A10: healed, nothing is stuck');
is(scalar(grep { $there->(sprintf 'RES-%06d', $_) =~ /partition/ } 1 .. 9), 9, 'A10: everything has arrived');

# A12 a role is dropped
$sql->('CREATE ROLE passing LOGIN; GRANT ALL ON reservations TO passing');
$sql->('SET ROLE passing; ' . $tag->('RES-000006', 'passing'));
$sql->('DROP OWNED BY passing; DROP ROLE passing');
$synced->('RES-000006', 'A12: a role that made a change and is gone disturbs nobody');
like($there->('RES-000006'), qr/passing/, 'A12: its change arrives');

# A13 a worker that is terminated comes back
my $pid = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
$sql->("SELECT pg_terminate_backend($pid)");
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND pid <> $pid", 'A13: a worker that was terminated is back');
$pms->edit('reservations', 'RES-000007', { roomNumber => '777' });
$wait->("SELECT room_number = '777' FROM reservations WHERE external_id = 'RES-000007'", 'A13: and works');

# A14 a token that anybody can read
$sql->('CREATE ROLE anybody LOGIN');
my $secrets = $sql->("SELECT string_agg(format('%I.%I', n.nspname, c.relname), ' ') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'jacksync' AND c.relkind IN ('r', 'v', 'm', 'S', 'p') AND (has_table_privilege('anybody', c.oid, 'SELECT') OR has_table_privilege('anybody', c.oid, 'DELETE'))");
is($secrets, '', 'A14: nobody without a grant can read or delete anything of ours');
($status, $out, $err) = $node->psql('postgres', 'SET ROLE anybody; SELECT * FROM jacksync.token');
like($err, qr/permission denied/, 'A14: a token least of all');
is($sql->("SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL AND has_server_privilege('anybody', srvname, 'USAGE')"), 0, 'A14: nor the credentials');

# nothing is held while HTTP runs: in the worker, and in CALL sync()
$pms->faults({ kind => 'hang', match => { path => '/v1/' } });
my $sent = @{ $pms->log };
my $call = $session->();
$sql->("SELECT jacksync.sync_now()");
$wait->("SELECT count(*) > 0 FROM jacksync.worker_status WHERE cycles > 0", 'a PMS that hangs');
my $tries = 0;
sleep 0.1 while @{ $pms->log } < $sent + 2 && $tries++ < 100;
is($sql->("SELECT count(*) || '/' || count(backend_xmin) || '/' || count(backend_xid) || '/' || count(xact_start) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'"),
	'1/0/0/0', 'the worker holds no snapshot and no transaction meanwhile');
is($sql->("SELECT string_agg(DISTINCT locktype, ' ') FROM pg_locks WHERE pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker') AND locktype NOT IN ('advisory')"),
	'', 'and no lock, but for that of the stream');
$sql->("SELECT jacksync.pause('guests')");
$pms->heal;
$wait->("SELECT count(*) = 0 FROM jacksync.worker_status WHERE cycles > 0", 'answered');
$pms->faults({ kind => 'hang', match => { path => '/v1/guests' } });
$sql->("SELECT jacksync.resume('guests'); UPDATE jacksync.stream SET poll_interval = '1 h'; SELECT jacksync.pause('reservations')");
$node->append_conf('postgresql.conf', "jacksync.databases = ''");
$node->reload;
$sql->("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
$call->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('guests');\n");
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL jacksync.sync%' AND state = 'active' AND wait_event_type = 'Extension'", 'CALL sync() hangs as well')
  or diag($call->{stdout} . $call->{stderr});
is($sql->("SELECT count(*) || '/' || count(backend_xmin) || '/' || count(backend_xid) FROM pg_stat_activity WHERE query LIKE 'CALL jacksync.sync%' AND state = 'active'"),
	'1/0/0', 'and holds no snapshot and no transaction id');
$pms->heal;
$call->quit;
$long->quit;

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal|reference leak/, 'nothing crashed, nothing stayed open');
done_testing();
