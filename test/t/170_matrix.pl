# Rows of the fault matrix (test/FAULTS.md) that no other test has: what the
# database, the PMS and time can do to us.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);
use Test::More;

my $many = ($ENV{CRASH} // '') eq 'full' ? 10000 : 300;
my $pms = JackSync::PMS->start(reservations => $many, guests => 30);
my $node = JackSync::Node::hotel('matrix', $pms, preload => 1, poll => '300 ms',
	init => { allows_streaming => 1 }, conf => "archive_mode = off\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, $_[0], $_[1]); };
my $there = sub { return join ' ', sort @{ $pms->record('guests', $_[0])->{tags} // [] }; };
my $synced = sub { $wait->("SELECT sync_status = 'synced' AND NOT EXISTS (SELECT FROM jacksync.change) FROM jacksync.record WHERE external_id = '$_[0]'", $_[1]); };
my $well = "SELECT count(*) = 2 FROM jacksync.status WHERE status IN ('connected', 'syncing') AND failure_count = 0";
$wait->("SELECT count(*) = $many AND ($well) FROM reservations", 'all is well');

# A11 many changes at once drain, in order, one request each
$sql->("UPDATE reservations SET special_requests = '{queued}'");
my $began = time;
for (1 .. 1200) { last if $sql->("SELECT count(*) FROM jacksync.record WHERE sync_status <> 'synced'") eq '0'; sleep 0.25; }
is($sql->("SELECT count(*) FROM jacksync.record WHERE sync_status <> 'synced'"), 0, "A11: $many queued changes drain");
note(sprintf '%d a second', $many / (time - $began));
is($pms->requests('PATCH', qr/reservations/), $many, 'A11: one request each');

# P22 a row that somebody holds: skipped, retried, the others go on
my $holder = $node->background_psql('postgres');
$holder->query_until(qr/held/, "BEGIN;\nSELECT 1 FROM guests WHERE external_id = 'GST-000001' FOR UPDATE;\n\\echo held\n");
$pms->edit('guests', $_, { name => 'Edited There' }) for 'GST-000001', 'GST-000002';
$wait->("SELECT name = 'Edited There' FROM guests WHERE external_id = 'GST-000002'", 'P22: beside a row that is held the others are applied');
$wait->("SELECT count(*) = 1 FROM jacksync.sync_error WHERE external_id = 'GST-000001' AND state = 'waiting'", 'P22: that one waits');
is($sql->("SELECT count(*) FROM jacksync.status WHERE failure_count > 0"), 0, 'P22: which is no failure');
$holder->query_until(qr/free/, "ROLLBACK;\n\\echo free\n");
$wait->("SELECT name = 'Edited There' FROM guests WHERE external_id = 'GST-000001'", 'P22: free, it is applied');

# P23 a lock that we need and a user who needs ours: we give way before
# anybody is a deadlock's victim
$sql->("CREATE TABLE ledger_page (id integer PRIMARY KEY, n integer); INSERT INTO ledger_page VALUES (1, 0);
	CREATE FUNCTION count_guests() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
	UPDATE public.ledger_page SET n = n + 1; RETURN NULL; END \$\$;
	CREATE TRIGGER count_guests AFTER UPDATE ON guests FOR EACH ROW WHEN (NEW.external_id = 'GST-000003') EXECUTE FUNCTION count_guests()");
$holder->query_until(qr/held/, "BEGIN;\nUPDATE ledger_page SET n = 0;\n\\echo held\n");
$pms->edit('guests', 'GST-000003', { name => 'Deadly' });
$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND wait_event_type = 'Lock'
	UNION ALL SELECT count(*) > 0 FROM jacksync.sync_error WHERE external_id = 'GST-000003' ORDER BY 1 DESC LIMIT 1", 'P23: the worker waits for a user, inside of a trigger');
$holder->query_until(qr/both/, "UPDATE guests SET tags = '{both}' WHERE external_id = 'GST-000003';\nCOMMIT;\n\\echo both\n");
# with the tags of the PMS, if we have been quick
is($sql->("SELECT tags @> '{both}' FROM guests WHERE external_id = 'GST-000003'"), 't', 'P23: the user who needs what we hold gets it');
$sql->('SELECT jacksync.sync_now()');
$wait->("SELECT name = 'Deadly' FROM guests WHERE external_id = 'GST-000003'", 'P23: and we come again');
$sql->('DROP TRIGGER count_guests ON guests');
$holder->quit;

# P24 triggers of users that do odd things
$sql->("CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
	CASE NEW.external_id
		WHEN 'GST-000004' THEN RAISE EXCEPTION 'odd';
		WHEN 'GST-000005' THEN NOTIFY odd;
		WHEN 'GST-000006' THEN CREATE TEMP TABLE odd (a integer);
		WHEN 'GST-000007' THEN RETURN NULL;
		WHEN 'GST-000008' THEN PERFORM set_config('search_path', 'nowhere', false), set_config('DateStyle', 'German', false);
		WHEN 'GST-000009' THEN PERFORM set_config('transaction_read_only', 'on', false);
		ELSE NULL; END CASE;
	RETURN NEW; END \$\$;
	CREATE TRIGGER odd BEFORE UPDATE ON guests FOR EACH ROW EXECUTE FUNCTION odd()");
$pms->edit('guests', sprintf('GST-%06d', $_), { name => 'Odd' }) for 4 .. 12;
$wait->("SELECT count(*) = 3 FROM guests WHERE name = 'Odd' AND external_id IN ('GST-000010', 'GST-000011', 'GST-000012')", 'P24: beside odd triggers the others are applied');
$wait->("SELECT string_agg(external_id, ' ' ORDER BY external_id) LIKE '%GST-000004%GST-000006%' FROM jacksync.sync_error WHERE state = 'retry'", 'P24: what raises, or wants a temporary table, is in sync_error');
is($sql->("SELECT name FROM guests WHERE external_id = 'GST-000005'"), 'Odd', 'P24: NOTIFY is harmless');
$sql->('DROP TRIGGER odd ON guests; SELECT jacksync.sync_now()');
$wait->("SELECT count(*) = 8 FROM guests WHERE name = 'Odd' AND external_id <> 'GST-000007'", 'P24: without the trigger they arrive');
$wait->($well, 'P24: and all is well');

# P25 what a database sets for its sessions is not for the worker
my @settings = ('default_transaction_isolation = serializable', 'default_transaction_read_only = on', 'session_replication_role = replica');
my $ours = 'SET default_transaction_read_only = off; SET session_replication_role = origin';
for my $set ([ $settings[0] ], [ $settings[1] ], [ $settings[2] ], [@settings])
{
	my $which = @$set > 1 ? 'all of them' : $set->[0];
	$sql->(join '; ', map { "ALTER DATABASE postgres SET $_" } @$set);
	my $pid = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
	$sql->("SELECT pg_terminate_backend($pid)");
	$wait->("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND pid <> $pid", "P25: a worker under $which");
	$pms->edit('guests', 'GST-000018', { name => $which });
	$wait->("SELECT name = '$which' FROM guests WHERE external_id = 'GST-000018'", 'P25: what the PMS changed comes in');
	$sql->("$ours; UPDATE guests SET tags = ARRAY['$which'] WHERE external_id = 'GST-000019'");
	$synced->('GST-000019', 'P25: what was changed here');
	like($there->('GST-000019'), qr/\Q$which\E/, 'P25: goes out');
	$sql->("$ours; ALTER DATABASE postgres RESET ALL");
}

# P20, P27 nothing is held, statistics are told
is($sql->("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jacksync worker' AND age(backend_xmin) > 1000"), 0, 'P27: the worker holds back no vacuum');
$wait->("SELECT n_tup_ins > 0 AND n_tup_del > 0 FROM pg_stat_user_tables WHERE relid = 'jacksync.change'::regclass", 'P27: and tells its statistics');

# N24, N25, N26, N27 records of every kind of oddness: each by itself, the page goes on
my @odd = (
	{ id => 'ODD-1', name => 'First' }, { id => 'ODD-1', name => 'Second' }, { name => 'Without Id' }, { id => undef, name => 'Null' },
	{ id => 12345, name => 'Number' }, { id => 'x' x 3000, name => 'Long' }, { id => '../../etc/passwd', name => 'Dots' },
	{ id => "A\r\nB", name => 'Lines' }, { id => 'ODD-2', name => 'Extra', never => { heard => 'of' } },
	{ id => 'ODD-3', name => 'Bad', lastInteraction => '0000-00-00' }, { id => 'ODD-4', name => 'Year', lastInteraction => '300000-01-01T00:00:00Z' },
	{ id => 'ODD-5', name => 'Type', tags => 'no array' }, { id => 'ODD-6', name => 'Future', updatedAt => '2030-01-01T00:00:00Z' },
	{ id => 'ODD-7', name => 'No Time' }, { id => 'ODD-8', name => 'Past', updatedAt => '1970-01-01T00:00:00Z' }, { id => 'ODD-9', name => 'Last' });
$pms->faults({ kind => 'raw', count => 1, match => { path => '/v1/guests', method => 'GET' }, body => JSON::PP->new->ascii->encode({ data => \@odd, hasMore => JSON::PP::false }) });
my $watermark = $sql->("SELECT watermark FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'guests'");
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT count(*) = 1 FROM guests WHERE name = 'Last'", 'N24 to N27: the last of a page of odd records');
is($sql->("SELECT string_agg(external_id, ' ' ORDER BY external_id) FROM guests WHERE external_id LIKE 'ODD%'"),
	'ODD-1 ODD-2 ODD-6 ODD-7 ODD-8 ODD-9', 'the good ones are here');
is($sql->("SELECT name FROM guests WHERE external_id = 'ODD-1'"), 'Second', 'N24: of two with one id the last counts');
is($sql->("SELECT name FROM guests WHERE external_id = '12345'"), 'Number', 'N25: an id that is a number');
$wait->("SELECT count(*) = 3 FROM jacksync.sync_error WHERE external_id IN ('ODD-3', 'ODD-4', 'ODD-5') AND state IN ('retry', 'dead')", 'N26: values that do not fit are errors of their records');
is($sql->("SELECT count(*) FROM jacksync.stream_state WHERE watermark > now() + interval '1 min'"), 0, 'N27: a time in the future does not move the watermark there');
unlike(join(' ', map { $_->{path} } @{ $pms->log }), qr{\.\./|etc/passwd|\r}, 'N25: no id leads to another address');

# N29 a PATCH that is answered with 200 and changes nothing: told, not repeated for ever
my $before = $pms->requests('PATCH', qr/GST-000017/);
my $mute = $pms->record('guests', 'GST-000017');
$pms->faults({ kind => 'raw', match => { path => 'GST-000017', method => 'PATCH' }, body => JSON::PP->new->ascii->encode($mute) });
$sql->("UPDATE guests SET tags = '{unheard}' WHERE external_id = 'GST-000017'");
sleep 4;
cmp_ok($pms->requests('PATCH', qr/GST-000017/) - $before, '<=', 6, 'N29: a PMS that says yes and does nothing is not asked for ever');
$pms->heal;
$sql->("SELECT jacksync.sync_now('guests')");
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000017'"), 1, 'N29: and nothing is lost here');

# N32 a list that suddenly holds a tenth: what is missing is not deleted
$before = $sql->('SELECT count(*) FROM guests');
$pms->faults({ kind => 'raw', count => 3, match => { path => '/v1/guests', method => 'GET' }, body => JSON::PP->new->ascii->encode({ data => [ $pms->record('guests', 'GST-000020') ], hasMore => JSON::PP::false }) });
$sql->("UPDATE jacksync.stream_state SET full_wanted = true; SELECT jacksync.sync_now('guests')");
sleep 1.5;
$pms->heal;
is($sql->('SELECT count(*) FROM guests'), $before, 'N32: a list that is too short deletes nothing');

# P28 clocks: a PMS that is an hour ahead, then an hour behind; a leap second
for my $skew (3600, -3600)
{
	$pms->config({ skew_seconds => $skew });
	# a clock that is set back would hide what is new until it has caught up
	$sql->("UPDATE jacksync.stream_state SET watermark = now() - interval '2 h'");
	$sql->("UPDATE guests SET tags = '{skew$skew}' WHERE external_id = 'GST-000014'");
	$synced->('GST-000014', "P28: with a clock that is $skew s off");
	like($there->('GST-000014'), qr/skew$skew/, 'P28: changes go out');
	$pms->edit('guests', 'GST-000015', { name => "Skew $skew" });
	$sql->('SELECT jacksync.sync_now()');
	$wait->("SELECT name = 'Skew $skew' FROM guests WHERE external_id = 'GST-000015'", 'P28: and come in');
}
$pms->config({ skew_seconds => 0 });
$sql->("UPDATE jacksync.stream_state SET watermark = now() - interval '2 h'");
is($sql->("SELECT count(*) FROM jacksync.manual_conflict"), 0, 'P28: and nothing of it is a conflict');
$pms->put('guests', 'GST-000016', { %{ $pms->record('guests', 'GST-000016') }, name => 'Leap', updatedAt => '2026-12-31T23:59:60Z' });
$sql->("SELECT jacksync.resync('guests', 'GST-000016')");
$wait->("SELECT name = 'Leap' FROM guests WHERE external_id = 'GST-000016'", 'P28: a leap second is a time');

# P11 back to an hour ago: base and intents are old, nothing of the PMS is overwritten
$pms->edit('guests', 'GST-000021', { tags => ['then'] });
$synced->('GST-000021', 'P11: a backup is made');
$sql->("SELECT jacksync.sync_now()");
$wait->("SELECT tags = '{then}' FROM guests WHERE external_id = 'GST-000021'", 'P11: with this value');
$node->backup('then');
$pms->edit('guests', 'GST-000021', { tags => ['now'] });
$sql->("UPDATE guests SET tags = '{pushed}' WHERE external_id = 'GST-000022'");
$synced->('GST-000022', 'P11: changes after it');
$wait->("SELECT tags = '{now}' FROM guests WHERE external_id = 'GST-000021'", 'P11: on both sides');
$node->stop('immediate');
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'then');
my $asked = @{ $pms->log };
$restored->start;
JackSync::Node::wait_for($restored, "SELECT count(*) > 0 FROM jacksync.worker_status WHERE state <> 'dead'", 'P11: the restored cluster');
JackSync::Node::wait_for($restored, "SELECT tags = '{now}' FROM guests WHERE external_id = 'GST-000021'", 'P11: takes what the PMS has now');
JackSync::Node::wait_for($restored, "SELECT tags @> '{pushed}' FROM guests WHERE external_id = 'GST-000022'", 'P11: our own push of the lost hour included');
is($there->('GST-000021'), 'now', 'P11: and overwrites nothing there');
is(scalar(grep { $_->{method} eq 'PATCH' } @{ $pms->log }[ $asked .. $#{ $pms->log } ]), 0, 'P11: nothing was sent');

# P12 a copy under another system identifier does not talk to the PMS at all
$restored->stop('fast');
$restored->start;
$restored->safe_psql('postgres', "UPDATE jacksync.installation SET system_identifier = system_identifier + 1");
$restored->psql('postgres', "SELECT jacksync.sync_now()");
JackSync::Node::wait_for($restored, "SELECT count(*) = 2 FROM jacksync.stream_state WHERE last_error ~ 'copied from another cluster'", 'P12: a copy');
$asked = @{ $pms->log };
$restored->psql('postgres', "SELECT jacksync.sync_now()");
my ($status, $out, $err) = $restored->psql('postgres', "CALL jacksync.sync('guests')");
like("$out $err", qr/cluster/, 'P12: says that it is one');
sleep 1;
is(scalar @{ $pms->log }, $asked, 'P12: and asks the PMS nothing');
like($restored->safe_psql('postgres', "SELECT string_agg(message, ' ') FROM jacksync.diagnose() WHERE status = 'error'"), qr/copied from another cluster/, 'P12: and diagnose() says so');
$restored->safe_psql('postgres', 'SELECT jacksync.adopt()');
$restored->safe_psql('postgres', 'SELECT jacksync.sync_now()');
JackSync::Node::wait_for($restored, $well, 'P12: adopted, it works');
$restored->stop;

unlike(slurp_file($_->logfile), qr/TRAP|PANIC|terminated by signal 11|reference leak/, 'nothing crashed, nothing stayed open') for $node, $restored;
done_testing();
