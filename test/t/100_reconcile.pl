# What no feed and no trigger told of: reconcile(), the worker's comparison,
# the local sweep, and records that are missing from a complete list.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 130, guests => 60);
my $node = JackSync::Node::hotel('reconcile', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { $sql->("CALL jacksync.sync('$_[0]')"); };
my $drift = sub {
	my ($entity, $repair) = @_;
	return $sql->("SELECT coalesce(external_id, local_id), field, reason, repaired FROM jacksync.reconcile('$entity'"
			. ($repair ? ", repair => true" : '') . ") ORDER BY 1, 2");
};
# a PMS that changes something without a new time: its feed does not tell
my $silently = sub {
	my ($id, %change) = @_;
	my $record = $pms->record('reservations', $id);
	$pms->put('reservations', $id, { %$record, %change });
};

$sql->("UPDATE jacksync.stream SET lookback_window = '0'");
$sync->('reservations');
$sync->('guests');
is($drift->('reservations'), '', 'nothing differs after a sync');
is($sql->("SELECT count(*) FROM jacksync.sync_run WHERE kind = 'reconcile' AND success"), 1, 'the comparison is a run');

# every kind of difference, listed
$silently->('RES-000001', roomNumber => '999');
$sql->("SET session_replication_role = replica; UPDATE reservations SET special_requests = '{past the trigger}' WHERE external_id = 'RES-000002'");
$sql->("SET session_replication_role = replica; DELETE FROM reservations WHERE external_id = 'RES-000003'");
$silently->('RES-000004', rateCode => 'QUIET');
$sql->("SET session_replication_role = replica; UPDATE reservations SET rate_code = 'LOUD' WHERE external_id = 'RES-000004'");
$sql->("UPDATE reservations SET special_requests = special_requests || '{waits}' WHERE external_id = 'RES-000005'");
my $list = $drift->('reservations');
is($list, join("\n",
		'RES-000001|roomNumber|missed_at_pms|f', 'RES-000002|specialRequests|uncaptured|f',
		'RES-000003||missing_here|f', 'RES-000004|rateCode|both_changed|f', 'RES-000005|specialRequests|waiting|f'),
	'every kind of difference is listed');
is($sql->("SELECT room_number FROM reservations WHERE external_id = 'RES-000001'") ne '999', 1, 'and nothing was changed');
is($sql->("SELECT base_value IS NOT NULL AND local_value <> pms_value FROM jacksync.reconcile('reservations') WHERE field = 'roomNumber'"), 't',
	'with the three values');

# repaired
$drift->('reservations', 1);
is($sql->("SELECT room_number FROM reservations WHERE external_id = 'RES-000001'"), '999', 'repair takes what the feed missed');
is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000003'"), 1, 'brings back a row that went past the trigger');
is($sql->("SELECT rate_code FROM reservations WHERE external_id = 'RES-000004'"), 'QUIET', 'decides what both changed by the rule');
like($sql->("SELECT conflict_details ->> 'localValue' FROM jacksync.audit_log WHERE external_id = 'RES-000004' AND field = 'rateCode'"),
	qr/LOUD/, 'and audits the loser');
$sync->('reservations');
like("@{ $pms->record('reservations', 'RES-000002')->{specialRequests} }", qr/past the trigger/, 'and pushes what no trigger saw');
is($drift->('reservations'), '', 'then nothing differs');

# missing at the PMS: asked for by itself, then deleted by policy
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete'");
$pms->vanish('reservations', 'RES-000010');
is($drift->('reservations'), 'RES-000010||missing_at_pms|f', 'a record that is gone without a tombstone is listed');
is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000010'"), 1, 'and stays');
$drift->('reservations', 1);
is($sql->("SELECT count(*) FROM reservations WHERE external_id = 'RES-000010'"), 0, 'with repair it is deleted: the PMS does not have it');
is($pms->requests('GET', qr{/RES-000010$}), 1, 'it was asked');

# too many are held, and nobody is asked
$pms->vanish('guests', sprintf 'GST-%06d', $_) for 1 .. 30;
$drift->('guests', 1);
is($sql->("SELECT count(*) FROM guests"), 60, 'thirty of sixty are held');
is($sql->("SELECT count(*) FROM jacksync.held_delete WHERE entity = 'guests' AND state = 'held'"), 30, 'and shown');
is($pms->requests('GET', qr{/guests/GST}), 0, 'nobody is asked for them one by one');
is($sql->("SELECT jacksync.release_deletes('guests')"), 30, 'a person releases them');
$sync->('guests');
is($sql->("SELECT count(*) FROM guests"), 30, 'then they are deleted');

# a list that lies
my $kept = $pms->record('guests', 'GST-000040');
$pms->faults({ kind => 'hide', collection => 'guests', ids => ['GST-000040'], match => { path => '/v1/guests$' } });
$drift->('guests', 1);
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000040'"), 1, 'a record that the list hides, and that can be read, stays');
is($sql->("SELECT count(*) FROM jacksync.pending_delete"), 0, 'and is not suspected any more');
$pms->heal;

# full_refresh without a way to read one: two lists in a row
$sql->("UPDATE jacksync.stream SET sync_mode = 'full_refresh', push = NULL WHERE entity = 'guests'");
$sync->('guests');
$pms->vanish('guests', 'GST-000041');
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000041'"), 1, 'missing from one list: not sure yet');
$pms->faults({ kind => 'status', status => 500, match => { path => '/v1/guests$' }, count => 1 });
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000041'"), 1, 'a run that fails deletes nothing');
$pms->heal;
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000041'"), 0, 'missing from two: deleted');

# the sweep needs no PMS: it finds within its round what no trigger saw
my $other = JackSync::PMS->start(reservations => 20, guests => 5);
my $swept = JackSync::Node::hotel('sweep', $other);
$sql = sub { return $swept->safe_psql('postgres', $_[0]); };
$sync->('reservations');
$sql->("SET session_replication_role = replica; UPDATE reservations SET special_requests = '{unseen}' WHERE external_id = 'RES-000007'");
$sql->("ALTER TABLE reservations DISABLE TRIGGER USER; DELETE FROM reservations WHERE external_id = 'RES-000008'; ALTER TABLE reservations ENABLE TRIGGER USER");
$sync->('reservations');
is($sql->("SELECT level, kind FROM jacksync.alert WHERE kind = 'uncaptured' AND resolved_at IS NULL"), 'warning|uncaptured', 'what evaded the trigger is told');
$sync->('reservations');
like("@{ $other->record('reservations', 'RES-000007')->{specialRequests} }", qr/unseen/, 'the sweep finds an edit past the trigger, and it is pushed');
is($sql->("SELECT string_agg(external_id || coalesce(':' || field, ''), ' ' ORDER BY external_id) FROM jacksync.drift WHERE reason = 'uncaptured'"),
	'RES-000007:specialRequests RES-000008', 'what it found is written down');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'uncaptured' AND resolved_at IS NULL"), 0, 'until a round finds nothing');

$sql->("UPDATE jacksync.stream SET lookback_window = '0'");
# the worker's own comparison, in slices, at its interval
my $record = $other->record('reservations', 'RES-000015');
$other->put('reservations', 'RES-000015', { %$record, roomNumber => '888' });
$sql->("UPDATE jacksync.stream SET reconcile_interval = '1 ms', paginator = paginator || '{\"page_size\": 5}' WHERE entity = 'reservations'");
$sync->('reservations');
is($sql->("SELECT room_number FROM reservations WHERE external_id = 'RES-000015'"), '888', 'a comparison that is due finds what the feed missed');
is($sql->("SELECT field, reason, repaired FROM jacksync.drift WHERE external_id = 'RES-000015'"), 'roomNumber|missed_at_pms|t', 'and writes it down');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'drift' AND resolved_at IS NULL"), 1, 'and tells');
is($sql->("SELECT progress IS NULL AND done_at IS NOT NULL FROM jacksync.reconcile_state s JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'"), 't', 'it is done');
my $before = $sql->("SELECT sum(n_tup_upd + n_tup_ins + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ('reservations', 'link')");
$sync->('reservations');
$sql->("SELECT pg_stat_force_next_flush()");
is($sql->("SELECT sum(n_tup_upd + n_tup_ins + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ('reservations', 'link')"), $before,
	'comparing what is alike writes nothing');

# on_pms_delete = 'mark' with a column for it
$sql->("ALTER TABLE guests ADD gone timestamptz; UPDATE jacksync.entity SET on_pms_delete = 'mark', deleted_column = 'gone' WHERE entity = 'guests'");
$sync->('guests');
$sql->("UPDATE guests SET tags = '{unheard}' WHERE external_id = 'GST-000002'; SELECT jacksync.pause('guests')");
my $record2 = $other->record('guests', 'GST-000002');
$other->delete('guests', 'GST-000002');
$sql->("SELECT jacksync.resume('guests')");
$sync->('guests');
is($sql->("SELECT gone > now() - interval '1 hour', tags FROM guests WHERE external_id = 'GST-000002'"), 't|{unheard}', 'what the PMS deletes is marked');
is($sql->("SELECT before_state ->> 'tags' FROM jacksync.audit_log WHERE external_id = 'GST-000002' AND conflict_details ->> 'resolution' = 'marked'"),
	'["unheard"]', 'and an edit that the PMS never heard of is in the audit log');
$other->edit('guests', 'GST-000002', { %$record2, deleted => JSON::PP::false });
$sync->('guests');
is($sql->("SELECT gone IS NULL FROM guests WHERE external_id = 'GST-000002'"), 't', 'the mark goes when the record is back');
my ($status, $out, $err) = $swept->psql('postgres', "UPDATE jacksync.entity SET deleted_column = 'name' WHERE entity = 'guests'");
like($err, qr/column "name" has the type text.*boolean column/s, 'a column that cannot mark is refused');

$node->stop;
$swept->stop;
done_testing();
