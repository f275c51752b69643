# Anomalies that other products document as expected, by their names.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 10, guests => 10);
my $node = JackSync::Node::hotel('anomalies', $pms, preload => 1, poll => '200 ms');
my $json = JSON::PP->new->canonical;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, @_) or BAIL_OUT('does not come to rest'); };
my $quiet = sub { $wait->("SELECT NOT EXISTS (SELECT FROM jacksync.change) AND NOT EXISTS (SELECT FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL)", $_[0]); };
my $push = $json->encode({ read => { path => '/v1/guests/{record.id}' }, if_match => 'etag', idempotency_header => 'Idempotency-Key',
	find => { path => '/v1/guests', query => { reference => '{record.reference}' }, record_path => '$.data[*]' },
	update => { path => '/v1/guests/{record.id}' }, delete => { path => '/v1/guests/{record.id}' },
	create => { path => '/v1/guests', constants => { reference => '{record.reference}' } } });
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'guests' AND field IN ('phone', 'email', 'name')");
$sql->("UPDATE jacksync.stream SET push = '$push' WHERE entity = 'guests'");
$sql->("UPDATE jacksync.entity SET on_local_delete = 'push' WHERE entity = 'guests'");
$sql->("CREATE TABLE seen (at timestamptz DEFAULT clock_timestamp(), external_id text, phone text);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN INSERT INTO public.seen (external_id, phone) VALUES (NEW.external_id, NEW.phone); RETURN NULL; END \$\$;
	CREATE TRIGGER see AFTER UPDATE OF phone ON guests FOR EACH ROW EXECUTE FUNCTION see()");
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

# A1: two quick edits; the first one's push, and its echo, are slow
my $slow = { kind => 'slow', seconds => 0.5, match => { path => '/v1/guests' } };
$pms->faults({ kind => 'hold', match => { method => 'PATCH', path => '/v1/guests' } }, $slow);
$sql->("UPDATE guests SET phone = 'first' WHERE external_id = 'GST-000001'");
$wait->("SELECT count(*) > 0 FROM jacksync.intent WHERE changes ? 'phone'", 'A1: the first edit is on its way');
$sql->("UPDATE guests SET phone = 'second' WHERE external_id = 'GST-000001'");
$pms->faults($slow);
$quiet->('A1: both are dealt with');
select undef, undef, undef, 1;
is($sql->("SELECT string_agg(phone, ' ' ORDER BY at) FROM seen"), 'first second', 'A1 flip-flop: no older value comes back');
is($pms->record('guests', 'GST-000001')->{phone}, 'second', 'A1: the last edit is at the PMS');
$pms->heal;

# A2: a page with the record is on its way while it is deleted here
my $old = $json->encode([ $pms->record('guests', 'GST-000002') ]);
$pms->faults({ kind => 'slow', seconds => 1, match => { method => 'GET', path => '/v1/guests$' }, count => 2 });
$pms->edit('guests', 'GST-000003', { phone => 'brings a page' });
$sql->("DELETE FROM guests WHERE external_id = 'GST-000002'");
$quiet->('A2: the delete is told to the PMS');
$old =~ s/'/''/g;
$sql->("SELECT jacksync.apply('guests', '$old', 'sample_pms')");
select undef, undef, undef, 1;
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000002'"), 0, 'A2 revived delete: it stays away');
is($pms->record('guests', 'GST-000002')->{deleted}, JSON::PP::true, 'A2: on both sides');

# A3: inserted and deleted before the first sync; and deleted while it is created
# (a cycle that runs goes on to its end)
$sql->("SELECT jacksync.pause('guests')");
$wait->("SELECT NOT EXISTS (SELECT FROM jacksync.progress WHERE entity = 'guests')", 'A3: nothing runs');
$sql->("INSERT INTO guests (name) VALUES ('brief')");
$sql->("DELETE FROM guests WHERE name = 'brief'");
$sql->("INSERT INTO guests (name) VALUES ('hasty')");
$pms->faults({ kind => 'hold', match => { method => 'POST', path => '/v1/guests' } });
$sql->("SELECT jacksync.resume('guests')");
$wait->("SELECT count(*) = 1 FROM jacksync.intent WHERE operation = 'create' AND changes ->> 'name' = 'hasty'", 'A3: a create is on its way');
$sql->("DELETE FROM guests WHERE name = 'hasty'");
$pms->heal;
$wait->("SELECT NOT EXISTS (SELECT FROM jacksync.link WHERE state IN ('n', 'd')) AND NOT EXISTS (SELECT FROM jacksync.change)", 'A3: all is dealt with');
my @created = grep { $_->{method} eq 'POST' && $_->{path} eq '/v1/guests' } @{ $pms->log };
is(scalar(grep { $_->{body} =~ /brief/ } @created), 0, 'A3 insert and delete: the PMS never hears of it');
my ($id) = map { $_->[1] } grep { $_->[1] =~ /^GUE-N/ } @{ $pms->history };
is($pms->record('guests', $id)->{deleted}, JSON::PP::true, 'A3: what was on its way is removed again');
$pms->heal;

# A5: the answer of a create is lost, again and again
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 },
	{ kind => 'down', match => { method => 'GET', path => '/v1/guests', query => 'reference' }, count => 2 });
$sql->("INSERT INTO guests (name, phone) VALUES ('once', '5')");
$wait->("SELECT external_id IS NOT NULL FROM guests WHERE name = 'once'", 'A5: it is created');
my %once = map { $_->[1] => 1 } grep { my $r = $pms->record('guests', $_->[1]); ($r->{name} // '') eq 'once' } grep { $_->[0] eq 'guests' } @{ $pms->history };
is(scalar(keys %once), 1, 'A5 lost answer of a create: one record');
is($sql->("SELECT count(*) FROM guests WHERE name = 'once'"), 1, 'A5: and one row');
$pms->heal;

# A6: two fields of one record, edited on two sides while they cannot talk
$pms->faults({ kind => 'down' });
$pms->edit('guests', 'GST-000006', { email => 'there@example.com' });
$sql->("UPDATE guests SET phone = 'here' WHERE external_id = 'GST-000006'");
$pms->heal;
$wait->("SELECT email = 'there\@example.com' FROM guests WHERE external_id = 'GST-000006'", 'A6: their field arrives');
$quiet->('A6: ours as well');
my $record = $pms->record('guests', 'GST-000006');
is("$record->{email} $record->{phone}", 'there@example.com here', 'A6 two fields on two sides: both survive there');
is($sql->("SELECT email || ' ' || phone FROM guests WHERE external_id = 'GST-000006'"), 'there@example.com here', 'A6: and here');
is($sql->("SELECT count(*) FROM jacksync.manual_conflict"), 0, 'and no conflict was made of any of it');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
done_testing();
