# CALL jacksync.sync(): load, pull, merge, push, outcomes, in a session.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 1203, guests => 40);
my $node = JackSync::Node::hotel('sync', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub {
	my ($entity) = @_;
	my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('$entity')");
	return { map { $_ } zip_row($out), stderr => $err };
};

sub zip_row
{
	my @names = qw(run_id started completed success processed created updated unchanged pushed conflicts errors error);
	my @values = split /\|/, $_[0], -1;
	return map { ($names[$_] => $values[$_]) } 0 .. $#names;
}

# initial load
my $run = $sync->('reservations');
is($run->{success}, 't', 'the initial load succeeds');
is($run->{created}, 1203, 'every record is there');
like($run->{stderr}, qr/NOTICE:.*page 3, 1203 records/, 'progress is told');
is($sql->('SELECT count(*) FROM reservations'), 1203, 'as rows');
is($sql->("SELECT count(*) FROM jacksync.record WHERE sync_status = 'synced'"), 1203, 'all are synced');
is($sql->('SELECT sum(balance) > 0 AND min(check_in_date) >= \'2026-12-01\' FROM reservations'), 't', 'with typed values');

# again: nothing changes
my $before = $sql->("SELECT pg_current_wal_lsn(), sum(n_tup_upd + n_tup_ins + n_tup_del) FROM pg_stat_user_tables WHERE schemaname = 'public'");
$run = $sync->('reservations');
is("$run->{created}/$run->{updated}/$run->{conflicts}", '0/0/0', 'a second sync writes nothing');
cmp_ok($run->{processed}, '<', 1203, 'and asks only for what is new, and a little more');

# a change of the PMS
$pms->edit('reservations', 'RES-000001', { roomNumber => '777', balance => '12.50' });
$run = $sync->('reservations');
is($run->{updated}, 1, 'one change arrives');
is($sql->("SELECT room_number, balance FROM reservations WHERE external_id = 'RES-000001'"), '777|12.50', 'with its values');

# a local change is pushed; its echo is no change
$sql->("UPDATE reservations SET special_requests = '{balcony}' WHERE external_id = 'RES-000002'");
my $base = $pms->record('reservations', 'RES-000002')->{specialRequests};
$run = $sync->('reservations');
is($run->{pushed}, 1, 'a local change is pushed');
is_deeply([sort @{ $pms->record('reservations', 'RES-000002')->{specialRequests} }], [sort 'balcony', @$base],
	'and merged: only the PMS removes');
$run = $sync->('reservations');
is("$run->{updated}/$run->{pushed}/$run->{conflicts}", '0/0/0', 'our own push comes back as nobody\'s change');
is($pms->requests('PATCH', qr/RES-000002/), 1, 'one request was enough');

# both sides at once
$pms->edit('reservations', 'RES-000003', { specialRequests => [ 'a', 'b', 'c' ] });
$sync->('reservations');
$pms->edit('reservations', 'RES-000003', { specialRequests => [ 'b', 'c', 'e' ], guestName => 'New Name' });
$sql->("UPDATE reservations SET special_requests = '{a,c,d}', guest_name = 'Other' WHERE external_id = 'RES-000003'");
$run = $sync->('reservations');
is($run->{conflicts}, 1, 'one record was changed on both sides');
is($sql->("SELECT special_requests, guest_name FROM reservations WHERE external_id = 'RES-000003'"),
	'{b,c,d,e}|New Name', 'merged, and won by the PMS');
is_deeply($pms->record('reservations', 'RES-000003')->{specialRequests}, [ 'b', 'c', 'd', 'e' ], 'the PMS has the merged value');
is($sql->("SELECT string_agg(field || ':' || (conflict_details ->> 'resolution'), ' ' ORDER BY field) FROM jacksync.audit_log WHERE external_id = 'RES-000003'"),
	'guestName:pms specialRequests:merge', 'both decisions are audited');

# the PMS changed meanwhile: If-Match makes it safe
$sql->("UPDATE reservations SET special_requests = special_requests || '{x}' WHERE external_id = 'RES-000004'");
$sync->('reservations');
$pms->edit('reservations', 'RES-000004', { specialRequests => ['y'] });
$sql->("UPDATE reservations SET special_requests = special_requests || '{z}' WHERE external_id = 'RES-000004'");
my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.push('reservations')");
like($err, qr/pushed 1 changes/, 'push() sends local changes without a pull');
is_deeply([sort @{ $pms->record('reservations', 'RES-000004')->{specialRequests} }], [ 'y', 'z' ],
	'nothing of the PMS was overwritten: 412, read, merged, sent again');

# the answer is lost after the PMS acted
$sql->("UPDATE reservations SET special_requests = '{lost answer}' WHERE external_id = 'RES-000005'");
$pms->faults({ kind => 'drop_after_apply', match => { method => 'PATCH', path => '/v1/' }, count => 1 });
$run = $sync->('reservations');
is($run->{success}, 'f', 'a lost answer fails the run');
is($sql->("SELECT state FROM jacksync.intent ORDER BY intent_id DESC LIMIT 1"), 'unknown', 'and its outcome is unknown');
$run = $sync->('reservations');
is($run->{success}, 't', 'the next run');
is($sql->("SELECT state FROM jacksync.intent ORDER BY intent_id DESC LIMIT 1"), 'done', 'looks it up');
is($pms->requests('PATCH', qr/RES-000005/), 1, 'and does not send it again');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'RES-000005'"), 'synced', 'the record is synced');
is($sql->("SELECT count(*) FROM jacksync.manual_conflict"), 0, 'without any conflict');

# a token that ends between: the repeated request is the same, If-Match and all
$sql->("UPDATE reservations SET special_requests = special_requests || '{repeated}' WHERE external_id = 'RES-000005'");
$pms->faults({ kind => 'status', status => 401, match => { method => 'PATCH', path => '/v1/' }, count => 1 });
$sync->('reservations');
my @patches = grep { $_->{method} eq 'PATCH' && $_->{path} =~ /RES-000005/ } @{ $pms->log };
is(scalar @patches, 3, 'a push with an old token is repeated with a new one');
is($patches[-1]{headers}{'If-Match'}, $patches[-2]{headers}{'If-Match'}, 'with the same If-Match');
is($patches[-1]{headers}{'Idempotency-Key'}, $patches[-2]{headers}{'Idempotency-Key'}, 'and the same key');

# 200 is no proof: the PMS did nothing and answered nonsense
$sql->("UPDATE reservations SET special_requests = special_requests || '{believed}' WHERE external_id = 'RES-000005'");
$pms->faults({ kind => 'garbage', match => { method => 'PATCH', path => '/v1/' }, count => 1 });
$sync->('reservations');
$sync->('reservations');
like("@{ $pms->record('reservations', 'RES-000005')->{specialRequests} }", qr/believed/, 'a change that was not taken is sent again');
like($sql->("SELECT special_requests FROM reservations WHERE external_id = 'RES-000005'"), qr/believed/, 'and not lost here');

# the PMS refuses for good
$sql->("UPDATE reservations SET special_requests = '{forbidden}' WHERE external_id = 'RES-000006'");
$pms->faults({ kind => 'status', status => 422, body => { message => 'no such request' }, match => { method => 'PATCH', path => '/v1/' } });
$run = $sync->('reservations');
is($run->{success}, 't', 'a refused push is no failure of the run');
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = 'RES-000006'"), qr/^dead\|.*422.*no such request/,
	'its words are in sync_error');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'RES-000006'"), 'sync_error', 'the record says so');
$pms->heal;

# a deleted record
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'reservations'");
$pms->delete('reservations', 'RES-000010');
$sync->('reservations');
is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000010'"), 0, 'a deleted record is deleted here, by policy');

# too many at once: held for a person
my $rows = sub { return $sql->('SELECT count(*) FROM reservations'); };
$before = $rows->();
$pms->delete('reservations', sprintf 'RES-%06d', $_) for 101 .. 130;
$sql->("UPDATE jacksync.entity SET delete_guard = '{\"count\": 1000, \"percent\": 100}'; UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 20}'");
$pms->faults({ kind => 'status', status => 500, match => { query => 'page=2' } });
$run = $sync->('reservations');
is("$run->{success}/$run->{processed}", 'f/20', 'a run that is cut short');
is($rows->(), $before, 'deletes nothing, though it may');
$sql->("UPDATE jacksync.entity SET delete_guard = DEFAULT; UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 500}'");
$pms->heal;
$sync->('reservations');
is($rows->(), $before, 'thirty at once are held');
is($sql->("SELECT count(*) FROM jacksync.held_delete WHERE state = 'held'"), 30, 'and shown');
is($sql->("SELECT level, message FROM jacksync.alert WHERE kind = 'mass_delete'"),
	'critical|The PMS says that 30 of 1202 records of reservations are deleted. Nothing was deleted here: a person must decide.', 'a person is told');
$pms->edit('reservations', 'RES-000101', { deleted => JSON::PP::false });
$sync->('reservations');
is($sql->("SELECT count(*) FROM jacksync.held_delete"), 29, 'one that is there again is not held any more');
is($sql->("SELECT jacksync.reject_deletes('reservations')"), 29, 'rejected');
$sync->('reservations');
is($rows->(), $before, 'the rows stay');
$sql->("UPDATE jacksync.pending_delete SET state = 'held'");
is($sql->("SELECT jacksync.release_deletes('reservations', 'sample_pms')"), 29, 'released');
$sync->('reservations');
is($rows->(), $before - 29, 'the rows go');
is($sql->("SELECT count(*) FROM jacksync.pending_delete"), 0, 'and nothing is left');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'mass_delete' AND resolved_at IS NULL"), 0, 'the alert is over');

# one record again, and all of them
$sql->("UPDATE jacksync.link SET snapshot = snapshot || '{\"rateCode\": \"SPOILT\"}' WHERE external_id = 'RES-000200'");
$sql->("UPDATE reservations SET rate_code = 'SPOILT' WHERE external_id = 'RES-000200'");
is($sql->("SELECT jacksync.resync('reservations', 'RES-000200')"), 1, 'resync of one record');
$sync->('reservations');
is($sql->("SELECT rate_code FROM reservations WHERE external_id = 'RES-000200'"), $pms->record('reservations', 'RES-000200')->{rateCode}, 'brings it in line');

# a PMS that was restored from a backup is noticed: its old values are nobody's edits
my %old = map { my $id = sprintf 'RES-%06d', $_; ($id => $pms->record('reservations', $id)) } 300 .. 320;
$pms->edit('reservations', $_, { rateCode => 'NEWER' }) for keys %old;
$sync->('reservations');
$pms->put('reservations', $_, $old{$_}) for keys %old;
$sql->("UPDATE jacksync.stream_state SET full_wanted = true");
$run = $sync->('reservations');
like($run->{error}, qr/sent 21 of 1203 records older than they were/, 'a PMS that went back is noticed');
is($sql->("SELECT count(*) FROM reservations WHERE rate_code = 'NEWER'"), 21, 'and not believed');
is($sql->("SELECT level, title FROM jacksync.alert WHERE kind = 'quarantine' AND resolved_at IS NULL"), 'critical|PMS Data Went Back', 'a person is told');
like($sql->("SELECT message FROM jacksync.status WHERE entity = 'reservations'"), qr/restored from a backup/, 'the status says so');
is($sql->("SELECT jacksync.resync('reservations')") > 1000, 1, 'the person believes the PMS');
$sync->('reservations');
is($sql->("SELECT count(*) FROM reservations WHERE rate_code = 'NEWER'"), 0, 'then its values count');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'quarantine' AND resolved_at IS NULL"), 0, 'and it is over');

# inside a transaction block
($status, $out, $err) = $node->psql('postgres', "BEGIN; CALL jacksync.sync('guests'); COMMIT");
like($err, qr/cannot synchronize inside a transaction block/, 'sync() says why it cannot');

# a second one waits
my $other = $node->background_psql('postgres');
$pms->faults({ kind => 'slow', seconds => 2, match => { path => '/v1/guests' }, count => 1 });
$other->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('guests');\n");
($status, $out, $err) = $node->psql('postgres', "SELECT pg_sleep(0.5); CALL jacksync.sync('guests')");
like($err, qr/NOTICE:.*busy.*waiting/, 'two at once: the second says that it waits');
is($status, 0, 'and then runs');
$other->quit;

# a PMS that hangs can be left at once
$pms->faults({ kind => 'hang', match => { path => '/v1/guests' } });
my $began = time;
($status, $out, $err) = $node->psql('postgres', "SET statement_timeout = '1s'; CALL jacksync.sync('guests')");
like($err, qr/canceling statement due to statement timeout/, 'a hanging request obeys statement_timeout');
cmp_ok(time - $began, '<', 4, 'at once');
$pms->heal;

# a token that is revoked is replaced
$pms->control('POST', 'expire', {});
$run = $sync->('guests');
is($run->{success}, 't', 'a refused token is replaced, once');

$node->stop;
done_testing();
