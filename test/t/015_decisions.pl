# What a person decides reaches the PMS; clocks that differ; records that fail.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 5);
my $node = JackSync::Node::hotel('decisions', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { $sql->("CALL jacksync.sync('reservations')"); };
my $id = sub { return sprintf 'RES-%06d', $_[0]; };
my $there = sub { return $pms->record('reservations', $id->($_[0]))->{ $_[1] }; };
my $here = sub { return $sql->("SELECT $_[1] FROM reservations WHERE external_id = '" . $id->($_[0]) . "'"); };

$sync->();

# undo of what the PMS won: the value comes back, goes to the PMS, and stands
$sql->("UPDATE reservations SET room_number = 'ours' WHERE external_id = 'RES-000001'");
$pms->edit('reservations', 'RES-000001', { roomNumber => 'theirs' });
$sync->();
is($here->(1, 'room_number'), 'theirs', 'the PMS wins its field');
$sql->("SELECT jacksync.undo(max(audit_id)) FROM jacksync.audit_log WHERE external_id = 'RES-000001' AND field = 'roomNumber'");
is($here->(1, 'room_number'), 'ours', 'undo puts the loser back');
$sync->();
is($there->(1, 'roomNumber'), 'ours', 'and the PMS learns of it, though the field is its own');
$sync->();
is($here->(1, 'room_number'), 'ours', 'it stands');
is($sql->("SELECT sync_status, decided IS NULL FROM jacksync.record JOIN jacksync.link USING (record_id) WHERE record.external_id = 'RES-000001'"),
	'synced|t', 'and all is in line');
$pms->edit('reservations', 'RES-000001', { roomNumber => 'moved' });
$sync->();
is($here->(1, 'room_number'), 'moved', 'until the PMS changes it');

# undo of a merge
my $base = $there->(2, 'specialRequests');
$sql->("UPDATE reservations SET special_requests = '{ours}' WHERE external_id = 'RES-000002'");
$pms->edit('reservations', 'RES-000002', { specialRequests => [ @$base, 'theirs' ] });
$sync->();
like($here->(2, 'special_requests'), qr/ours.*theirs|theirs.*ours/, 'merged');
$sql->("SELECT jacksync.undo(max(audit_id)) FROM jacksync.audit_log WHERE external_id = 'RES-000002'");
$sync->();
is_deeply($there->(2, 'specialRequests'), ['ours'], 'a merge that was undone stays undone, on both sides');

# a held constraint, decided for our side
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE field IN ('checkOutDate')");
$sql->("UPDATE reservations SET check_out_date = check_in_date WHERE external_id = 'RES-000003'");
$pms->edit('reservations', 'RES-000003', { checkInDate => '2027-06-01' });
$sync->();
is($sql->("SELECT count(*), min(field_group) FROM jacksync.open_conflict"), '2|reservations_check', 'dates that do not fit together are held');
is($sql->("SELECT count(*) FROM jacksync.sync_error"), 0, 'it is no error');
$sql->("SELECT jacksync.resolve_conflict(min(conflict_id), 'local') FROM jacksync.open_conflict");
$sync->();
is($there->(3, 'checkInDate') . $there->(3, 'checkOutDate'), $here->(3, 'check_in_date') . $here->(3, 'check_out_date'),
	'decided for ours: the PMS gets both dates');

# the clock of the PMS is an hour ahead: what it did earlier is earlier
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE field = 'rateCode'");
$pms->config({ skew_seconds => 3600 });
$sync->();
like($sql->("SELECT round(extract(epoch FROM skew)) FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'"),
	qr/^(3599|3600|3601)$/, 'the skew is measured');
$pms->edit('reservations', 'RES-000004', { rateCode => 'EARLIER' });
select undef, undef, undef, 2.5;
$sql->("UPDATE reservations SET rate_code = 'LATER' WHERE external_id = 'RES-000004'");
$sync->();
is($here->(4, 'rate_code'), 'LATER', 'a clock that is ahead wins nothing');
is($there->(4, 'rateCode'), 'LATER', 'there either');
$sql->("UPDATE reservations SET rate_code = 'FIRST' WHERE external_id = 'RES-000005'");
select undef, undef, undef, 2.5;
$pms->edit('reservations', 'RES-000005', { rateCode => 'SECOND' });
$sync->();
is($here->(5, 'rate_code'), 'SECOND', 'what it did later is later');
# what cannot be told apart is a tie, and the audit says so
$sql->("UPDATE jacksync.stream_state SET skew = '0', skew_error = '5 s'");
$sql->("UPDATE reservations SET rate_code = 'TIME' WHERE external_id = 'RES-000006'");
my $later = $sql->("SELECT to_json(clock_timestamp() + interval '2 s')");
$sql->("SELECT jacksync.apply('reservations', '[{\"id\": \"RES-000006\", \"rateCode\": \"SAME\", \"updatedAt\": $later}]', 'sample_pms')");
is($here->(6, 'rate_code'), 'TIME', 'a tie is local');
is($sql->("SELECT conflict_details ->> 'reason' FROM jacksync.audit_log WHERE external_id = 'RES-000006' AND field = 'rateCode'"),
	'tie', 'and is called one');
$pms->config({ skew_seconds => -86400 });
$sync->();
is($sql->("SELECT success FROM jacksync.sync_run ORDER BY run_id DESC LIMIT 1"), 't', 'a clock that jumps back a day harms nobody');
$pms->config({ skew_seconds => 0 });
$sync->();

# one record that cannot be settled does not stop the others
$sql->("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
	IF NEW.external_id = 'RES-000007' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END \$\$");
$sql->("UPDATE reservations SET balance = 1 WHERE external_id IN ('RES-000007', 'RES-000008')");
$sql->("CREATE TRIGGER refuse BEFORE UPDATE ON reservations FOR EACH ROW EXECUTE FUNCTION refuse()");
$sync->();
is($sql->("SELECT success FROM jacksync.sync_run ORDER BY run_id DESC LIMIT 1"), 't', 'the run goes on');
is($sql->("SELECT error, state FROM jacksync.sync_error WHERE external_id = 'RES-000007'"),
	'not this one|retry', 'the record is in sync_error, with what was wrong');
isnt($here->(8, 'balance'), '1.00', 'the next one is undone as the rule says');
$sql->("DROP TRIGGER refuse ON reservations");
$sql->("UPDATE jacksync.link SET next_push_at = now() WHERE external_id = 'RES-000007'");
$sync->();
isnt($here->(7, 'balance'), '1.00', 'and so is this one, when it can');
is($sql->("SELECT count(*) FROM jacksync.sync_error WHERE state <> 'resolved'"), 0, 'its error is over');

$node->stop;
done_testing();
