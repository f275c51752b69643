# A worker that operators can forget: it sleeps when nothing is due, polls that
# find nothing write nothing, and its memory stays what it is over many cycles.
# MINUTES=15 makes a soak of it.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use Test::More;

my $seconds = 60 * ($ENV{MINUTES} // 0) || 10;
my $pms = JackSync::PMS->start(reservations => 200, guests => 50);
my $node = JackSync::Node::hotel('quiet', $pms, preload => 1, poll => '1 hour', conf => "autovacuum = off\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'in sync');

# nothing is due: it wakes for its heartbeat and for nothing else
my $pid = $sql->('SELECT pid FROM jacksync.worker_status');
my $wakeups = sub { return $sql->('SELECT wakeups FROM jacksync.worker_status'); };
my $written = sub { return $sql->("SELECT pg_current_wal_insert_lsn() - '0/0'"); };
select undef, undef, undef, 1;
my ($began, $before, $wal) = (time, $wakeups->(), $written->());
select undef, undef, undef, $seconds > 60 ? 60 : 8;
my $n = $wakeups->() - $before;
my $minutes = (time - $began) / 60;
diag(sprintf 'measured: an idle worker wakes %.1f times a minute; the cluster wrote %d bytes of WAL meanwhile', $n / $minutes, $written->() - $wal);
cmp_ok($n, '<=', 2 + 10 * $minutes, 'an idle worker sleeps');
is($sql->("SELECT state FROM jacksync.worker_status"), 'idle', 'and says so');

# polls that find nothing: no run, no row, no WAL; and everybody sees how fresh the data is
my $runs = sub { return $sql->("SELECT count(*) FROM jacksync.sync_run"); };
my $rows = sub { return $sql->("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = 'jacksync'"); };
my $polls = sub { return $pms->requests('GET', qr{^/v1/(guests|reservations)}); };
my $lsn = sub { return $sql->('SELECT pg_current_wal_insert_lsn()'); };
$sql->("UPDATE jacksync.stream SET poll_interval = '100 ms'");
my $fresh = "SELECT min(last_sync) > '%s' AND bool_and(status = 'connected') FROM jacksync.status";
JackSync::Node::wait_for($node, sprintf($fresh, $sql->('SELECT clock_timestamp()')), 'the interval is shorter');
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.stream_state t WHERE jacksync.live_last_sync(t.stream_id, t.last_sync_at) > t.last_sync_at", 'and nothing is to be done');
$sql->('CHECKPOINT');
my ($from, $asked, $were, $ran, $watermark) = ($lsn->(), $polls->(), $rows->(), $runs->(), $sql->("SELECT max(last_sync) FROM jacksync.status"));
for (1 .. 300) { last if $polls->() >= $asked + 60; select undef, undef, undef, 0.1; }
my $idle = $polls->() - $asked;
JackSync::Node::wait_for($node, sprintf($fresh, $sql->("SELECT clock_timestamp() - interval '5 s'")), 'status knows how fresh the data is');
is($sql->("SELECT status, stale_age < '5 s' FROM jacksync.check_freshness('guests', 'check_in', 'sample_pms')"), 'fresh|t', 'and check_freshness()');
is($sql->("SELECT bool_and(next_sync BETWEEN now() - interval '5 s' AND now() + interval '5 s') FROM jacksync.status"), 't', 'and when the next poll is due');
is($sql->("SELECT count(*) FROM jacksync.stream_state WHERE last_sync_at > '$watermark'"), 0, 'the table does not');
my $upto = $lsn->();
is($runs->() - $ran, 0, 'polls that find nothing have no row in sync_run');
is($rows->() - $were, 0, 'nor do they write any other row');
my @records = JackSync::Node::wal_of($node, $from, $upto);
diag("measured: $idle polls that found nothing: " . scalar(@records) . ' WAL records');
cmp_ok($idle, '>=', 60, 'there were many of them');
is(join("\n", @records[0 .. ($#records < 9 ? $#records : 9)]), '', 'and no WAL at all');

# the first that finds something tells of them
$pms->edit('guests', 'GST-000001', { name => 'Not idle' });
JackSync::Node::wait_for($node, "SELECT name = 'Not idle' FROM guests WHERE external_id = 'GST-000001'", 'a change of the PMS comes as before');
JackSync::Node::wait_for($node, "SELECT idle >= 20 AND updated = 1 AND success FROM jacksync.sync_run WHERE entity = 'guests' ORDER BY run_id DESC LIMIT 1", 'its run has a row, which counts those before it');
cmp_ok(scalar(JackSync::Node::wal_of($node, $upto, $lsn->())), '>', 0, 'and WAL, which is seen here');
is($sql->("SELECT runs >= idle + 1 FROM jacksync.stat JOIN (SELECT entity, sum(idle) AS idle FROM jacksync.sync_run GROUP BY 1) i USING (entity) WHERE entity = 'guests'"), 't', 'and so do the counters');

# what is only in memory can be lost: then the data looks older than it is
JackSync::Node::wait_for($node, "SELECT jacksync.live_last_sync(t.stream_id, t.last_sync_at) > t.last_sync_at + interval '1 s' FROM jacksync.stream_state t JOIN jacksync.stream s USING (stream_id) WHERE s.entity = 'reservations'", 'idle again');
$pms->faults({ kind => 'down', match => { path => '/v1/reservations' } });
JackSync::Node::wait_for($node, "SELECT status = 'error' FROM jacksync.status WHERE entity = 'reservations'", 'the PMS is gone');
my $known = $sql->("SELECT last_sync FROM jacksync.status WHERE entity = 'reservations'");
$node->stop('immediate');
$node->start;
is($sql->("SELECT last_sync <= '$known' FROM jacksync.status WHERE entity = 'reservations'"), 't', 'after a crash the data looks older, never younger');
$pms->heal;
my $healed = $sql->('SELECT clock_timestamp()');
$sql->("UPDATE jacksync.stream SET poll_interval = '1 hour'; SELECT jacksync.sync_now()");
JackSync::Node::wait_for($node, sprintf($fresh, $healed), 'and is read again');
$pid = $sql->('SELECT pid FROM jacksync.worker_status');

# a burst of local edits is few cycles
my $runs_before = $runs->();
$sql->(join '', map { "UPDATE guests SET notes = 'burst $_' WHERE id = " . ($_ % 50 + 1) . ';' } 1 .. 300);
JackSync::Node::wait_for($node, "SELECT count(*) = 0 FROM jacksync.change", 'a burst is taken up');
JackSync::Node::wait_for($node, "SELECT count(*) = 0 FROM jacksync.record WHERE sync_status <> 'synced'", 'and pushed');
my $cycles = $runs->() - $runs_before;
diag("measured: 300 commits of local edits: $cycles cycles");
cmp_ok($cycles, '<', 100, 'in fewer cycles than commits');

# many cycles, with changes on both sides
# its own memory: buffers that it has touched are the server's
my $resident = sub { return (slurp_file("/proc/$pid/status") =~ /RssAnon:\s+(\d+)/)[0]; };
my $sockets = sub { my @open = grep { (readlink // '') =~ /socket/ } glob("/proc/$pid/fd/*"); return scalar @open; };
$sql->("UPDATE jacksync.stream SET poll_interval = '20 ms', lookback_window = '1 s'");
my (@samples, $i);
my $cpu = sub { my @stat = split ' ', slurp_file("/proc/$pid/stat"); return ($stat[13] + $stat[14]) / 100; };
my ($start, $start_runs, $start_cpu) = (time, $runs->(), $cpu->());
while (time < $start + $seconds)
{
	$i++;
	$pms->edit('guests', sprintf('GST-%06d', $i % 50 + 1), { name => "Guest $i" });
	$sql->("UPDATE reservations SET special_requests = '{soak $i}' WHERE id = " . ($i % 200 + 1));
	push @samples, [ time - $start, $resident->() ] if $i % 5 == 0;
	select undef, undef, undef, 0.1;
}
my $done = $runs->() - $start_runs;    # and those that found nothing
my @late = @samples[ int(@samples / 2) .. $#samples ];
my ($growth, $span) = ($late[-1][1] - $late[0][1], $late[-1][0] - $late[0][0]);
diag(sprintf 'measured: %d cycles in %d s, %.1f ms of CPU each; memory of the worker: %d kB after %d s, %d kB at half-time, %d kB at the end',
	$done, $seconds, 1000 * ($cpu->() - $start_cpu) / ($done || 1), $samples[0][1], $samples[0][0], $late[0][1], $late[-1][1]);
cmp_ok($done, '>', $seconds, 'it was busy');
cmp_ok($growth, '<', 4096, 'memory is flat over the second half');
cmp_ok($sockets->(), '<', 20, 'connections do not pile up');
cmp_ok($sql->("SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype = 'advisory'"), '<', 5, 'nor do locks');
is($sql->("SELECT pid FROM jacksync.worker_status"), $pid, 'it is the same worker');

# answers that are far larger than others do not stay
my $usual = $resident->();
$pms->forget_log;
$pms->faults({ kind => 'big', megabytes => 24, match => { path => '/v1/guests$' }, count => 3 });
for (1 .. 600) { last if scalar(grep { $_->{path} eq '/v1/guests' && $_->{status} } @{ $pms->log }) > 3; select undef, undef, undef, 0.1; }
my $large = $resident->();
for (1 .. 300) { last if $resident->() < $usual + 8192; select undef, undef, undef, 0.1; }
diag(sprintf 'measured: memory of the worker: %d kB, %d kB after three answers of 24 MB, %d kB within half a minute', $usual, $large, $resident->());
cmp_ok($resident->(), '<', $usual + 8192, 'large answers leave little behind: the memory of a page is kept, up to 4 MB');

# autovacuum sees what the worker writes, and progress writes nothing
is($sql->("SELECT count(*) FROM pg_stat_user_tables WHERE schemaname = 'jacksync'
	AND (relname = 'stream_state' AND n_tup_upd > 10 OR relname = 'sync_run' AND n_tup_ins > 10 OR relname = 'link' AND n_tup_upd > 10)"),
	3, "the statistics count the worker's changes");
cmp_ok($sql->("SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE schemaname = 'jacksync' AND relname = 'shared_state'"),
	'<=', 2, 'live progress is in no table');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
done_testing();
