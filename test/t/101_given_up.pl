# A comparison that cannot go on, and a local change that cannot be decided:
# both are written down and tried later, and neither stops anything else.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 8);
my $node = JackSync::Node::hotel('given_up', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub {
	my %run;
	@run{qw(run_id started completed success processed created updated unchanged pushed conflicts errors error)} =
	  split /\|/, $sql->("CALL jacksync.sync('$_[0]')"), -1;
	return \%run;
};
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete'; UPDATE jacksync.stream SET lookback_window = '0', paginator = paginator || '{\"page_size\": 5}'");
$sync->('reservations');
$sync->('guests');

# the comparison is due, and the PMS fails in the midst of it, after a record is gone of which no feed tells
my $due = "UPDATE jacksync.reconcile_state r SET done_at = '-infinity' FROM jacksync.stream s WHERE s.stream_id = r.stream_id AND s.entity = 'reservations'";
my $state = "SELECT progress IS NULL, done_at BETWEEN now() - interval '24 h' AND now() - interval '22 h' FROM jacksync.reconcile_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'";
my $last = "SELECT success, error FROM jacksync.sync_run WHERE entity = 'reservations' AND kind = 'reconcile' ORDER BY run_id DESC LIMIT 1";
my $second = encode_json({ data => [ map { $pms->record('reservations', sprintf 'RES-%06d', $_) } 6 .. 10 ], hasMore => JSON::PP::true });
my $page = sub { return { path => '/v1/reservations$', query => "page=$_[0]" } };
my @broken = (
	[ [ { kind => 'status', status => 500, match => $page->(3) } ], qr/^f\|.*HTTP 500/, 'an error of the PMS' ],
	[ [ { kind => 'garbage', match => $page->(2) } ], qr/^f\|.*not valid JSON/, 'half an answer' ],
	[ [ map { { kind => 'raw', body => $second, match => $page->($_) } } 2, 3 ], qr/^f\|pagination loop/, 'a page that comes twice' ]);
$pms->vanish('reservations', 'RES-000004');
foreach my $case (@broken)
{
	my ($faults, $words, $what) = @$case;
	$sql->($due);
	$pms->faults(@$faults);
	my $run = $sync->('reservations');
	is("$run->{success}/$run->{error}", 't/', "$what in the comparison: the poll itself was complete");
	like($sql->($last), $words, 'the comparison failed, in words');
	is($sql->($state), 't|t', 'it is begun anew in an hour');
	is($sql->("SELECT status, failure_count FROM jacksync.status WHERE entity = 'reservations'"), 'connected|0', 'the stream is well');
	is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000004'"), 1, 'what it did not see is not gone');
	$pms->heal;
}
is($sql->('SELECT count(*) FROM jacksync.pending_delete'), 0, 'nor is anything suspected');
my $runs = "SELECT count(*) FROM jacksync.sync_run WHERE kind = 'reconcile'";
my $before = $sql->($runs);
$sync->('reservations');
is($sql->($runs), $before, 'not before the hour is over');
$sql->($due);
$sync->('reservations');
like($sql->($last), qr/^t\|/, 'then it is complete');
is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000004'"), 0, 'and finds what is gone');

# a person who waits for the list gets the error
$pms->faults({ kind => 'status', status => 500, match => $page->(3) });
my ($status, $out, $err) = $node->psql('postgres', "SELECT * FROM jacksync.reconcile('reservations')");
like($err, qr/ERROR:.*HTTP 500/, 'reconcile() fails with the words of the PMS');
$pms->heal;
is($sql->("SELECT count(*) FROM jacksync.reconcile('reservations')"), 0, 'and can be called again');

# an edit that is to be undone, where a trigger does not let anybody write the old value; the record is not read before
$sql->("UPDATE jacksync.stream SET push = push || '{\"read_before_write\": false}' WHERE entity = 'guests'");
$sql->("CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the name is frozen''; END';
	UPDATE guests SET name = 'Typo' WHERE external_id = 'GST-000001';
	CREATE TRIGGER frozen BEFORE UPDATE OF name ON guests FOR EACH ROW WHEN (OLD.name = 'Typo') EXECUTE FUNCTION frozen()");
$sql->("UPDATE guests SET notes = 'fine' WHERE external_id = 'GST-000002'");
my $run = $sync->('guests');
is("$run->{success}/$run->{errors}/$run->{pushed}", 't/1/1', 'what cannot be undone is an error of its record; another one is pushed');
like($pms->record('guests', 'GST-000002')->{notes}, qr/fine/, 'as it should');
my $error = "SELECT direction, state, sqlstate, error, attempts FROM jacksync.sync_error WHERE local_id = (SELECT id::text FROM guests WHERE external_id = 'GST-000001')";
is($sql->($error), 'push|retry|P0001|the name is frozen|1', 'it is written down');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'GST-000001'"), 'sync_error', 'and shown');
is($sql->("SELECT name FROM guests WHERE external_id = 'GST-000001'"), 'Typo', 'the row is as it was');
is($sql->("SELECT count(*) FROM jacksync.audit_log WHERE external_id = 'GST-000001'"), 0, 'and nothing is audited that was not done');
$sync->('guests');
is($sql->($error), 'push|retry|P0001|the name is frozen|1', 'it is not tried again at once');
$sql->("SELECT jacksync.sync_now('guests')");
$sync->('guests');
is($sql->($error), 'push|retry|P0001|the name is frozen|2', 'but when a person says so');
$sql->("UPDATE jacksync.sync_error SET attempts = 9; SELECT jacksync.sync_now('guests')");
$sync->('guests');
is($sql->($error), 'push|dead|P0001|the name is frozen|10', 'after ten times it is given up');
$sql->("SELECT jacksync.sync_now('guests')");
$sync->('guests');
is($sql->($error), 'push|dead|P0001|the name is frozen|10', 'and left alone');
$sql->("DROP TRIGGER frozen ON guests; SELECT jacksync.requeue(error_id) FROM jacksync.sync_error WHERE state = 'dead'");
$sync->('guests');
isnt($sql->("SELECT name FROM guests WHERE external_id = 'GST-000001'"), 'Typo', 'mended and requeued, the edit is undone');
is($sql->("SELECT conflict_details ->> 'localValue', resolved_by FROM jacksync.audit_log WHERE external_id = 'GST-000001' AND field = 'name'"), 'Typo|system', 'and audited');
is($sql->("SELECT state FROM jacksync.sync_error WHERE error = 'the name is frozen'"), 'resolved', 'the error is over');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'GST-000001'"), 'synced', 'the record is in line');

# what is refused as outdated twice, though it reads as before, was written meanwhile: the version tells
$sql->("UPDATE jacksync.stream SET push = push - 'read_before_write' WHERE entity = 'guests'; UPDATE guests SET tags = tags || '{patient}' WHERE external_id = 'GST-000003'");
my $written = sub { my $as_it_was = $pms->record('guests', 'GST-000003'); $pms->edit('guests', 'GST-000003', {}); $pms->put('guests', 'GST-000003', $as_it_was); };
my $hold = sub { return { kind => 'hold', round => $_[0], match => { method => 'PATCH', path => 'GST-000003' } } };
my $patches = sub { my ($n) = @_; for (1 .. 1200) { last if $pms->requests('PATCH', qr/GST-000003/) == $n; select undef, undef, undef, 0.05; } };
$pms->forget_log;
$pms->faults($hold->(1));
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.push('guests');\n");
$patches->(1);
$written->();
$pms->faults($hold->(2));
$patches->(2);
$written->();
$pms->heal;
$session->quit;
is($pms->requests('PATCH', qr/GST-000003/), 3, 'a push that lost two races is sent a third time');
like("@{ $pms->record('guests', 'GST-000003')->{tags} }", qr/patient/, 'and arrives');
is($sql->("SELECT count(*) FROM jacksync.intent WHERE state = 'rejected'"), 0, 'it was no refusal');

$node->stop;
done_testing();
