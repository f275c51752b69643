# Rows that come and go on both sides, under faults: one record for one row.
#
# SECONDS and SEED may be set.
use strict;
use warnings FATAL => 'all';
use Encode qw(decode_utf8);
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);
use Test::More;

my $seed = $ENV{SEED} // int rand 1e6;
my $seconds = $ENV{SECONDS} // 12;
srand $seed;
my $pms = JackSync::PMS->start(reservations => 2, guests => 12);
my $node = JackSync::Node::hotel('records', $pms, preload => 1, poll => '150 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(q(UPDATE jacksync.entity SET on_local_delete = 'push', on_pms_delete = 'delete', delete_guard = '{"count": 1000, "percent": 100}' WHERE entity = 'guests'));
$sql->(q(UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'guests' AND field IN ('phone', 'email')));
$sql->(q(UPDATE jacksync.stream SET push = push || '{"find": {"path": "/v1/guests", "query": {"reference": "{record.reference}"}, "record_path": "$.data[*]"},
	"reference_path": "$.reference", "create": {"path": "/v1/guests", "constants": {"reference": "{record.reference}"}}, "delete": {"path": "/v1/guests/{record.id}"}}' WHERE entity = 'guests'));
$pms->config({ idempotency => JSON::PP::false }) if $seed % 2;
$pms->config({ patch_answer => 204 }) if $seed % 3 == 0;
$pms->config({ create_answer => (qw(record location id none))[ $seed % 4 ] });
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

my %count;
my $n = 0;
my $any = sub { return $sql->('SELECT id FROM guests ORDER BY random() LIMIT 1'); };
my $there = sub { return { map { ($_->[1] => 1) } grep { $_->[0] eq 'guests' } @{ $pms->history } }; };
my @does = (
	sub { $sql->("INSERT INTO guests (name, tags) VALUES ('N" . ++$n . "', '{a}')"); return 'inserts'; },
	sub { $sql->("INSERT INTO guests (name) VALUES ('N" . ++$n . "'); DELETE FROM guests WHERE name = 'N$n'"); return 'hasty'; },
	sub { my $id = $any->(); $sql->("UPDATE guests SET phone = 'L" . ++$n . "' WHERE id = $id") if $id; return 'updates'; },
	sub { my $id = $any->(); $sql->("DELETE FROM guests WHERE id = $id") if $id && rand() < 0.6; return 'deletes'; },
	sub { my @ids = sort keys %{ $there->() }; return 'none' unless @ids; my $id = $ids[ rand @ids ]; my $r = $pms->record('guests', $id);
		$pms->edit('guests', $id, { email => 'P' . ++$n }) if $r->{name} && !$r->{deleted}; return 'edits there'; },
	sub { my @ids = sort keys %{ $there->() }; return 'none' unless @ids && rand() < 0.4; my $id = $ids[ rand @ids ]; my $r = $pms->record('guests', $id);
		$pms->delete('guests', $id) if $r->{name} && !$r->{deleted}; return 'deletes there'; },
	sub {
		my @kinds = ({ kind => 'drop_after_apply' }, { kind => 'reset' }, { kind => 'down' }, { kind => 'status', status => 503 },
			{ kind => 'status', status => 429, headers => { 'Retry-After' => '1' } }, { kind => 'slow', seconds => 0.3 }, { kind => 'garbage' });
		my $fault = $kinds[ rand @kinds ];
		$pms->faults({ %$fault, count => 1 + int rand 2, match => { path => '/v1/guests', rand() < 0.7 ? (method => (qw(POST PATCH DELETE GET))[ rand 4 ]) : () } });
		return "fault $fault->{kind}"; });
my $end = time + $seconds;
while (time < $end)
{
	$count{ $does[ rand @does ]->() }++;
	$sql->("SELECT jacksync.sync_now()") if rand() < 0.3;
	sleep rand 0.05;
}
$pms->heal;
$sql->("SELECT jacksync.sync_now()");
my $quiet = 0;
for (1 .. 600)
{
	$sql->("SELECT jacksync.sync_now()") if $_ % 10 == 0;
	sleep 0.1;
	last if $quiet = $sql->("SELECT bool_and(failure_count = 0) AND NOT EXISTS (SELECT FROM jacksync.change)
		AND NOT EXISTS (SELECT FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL)
		AND NOT EXISTS (SELECT FROM jacksync.sync_error WHERE state IN ('waiting', 'retry')) FROM jacksync.stream_state") eq 't';
}
ok($quiet, "all comes to rest (seed $seed: " . join(', ', map { "$count{$_} $_" } sort keys %count) . ')')
  or diag($sql->("SELECT to_jsonb(l) - 'snapshot' FROM jacksync.link l WHERE dirty OR intent_id IS NOT NULL"), $sql->("SELECT state, external_id, local_id, error FROM jacksync.sync_error WHERE state IN ('waiting', 'retry', 'dead')"),
	$sql->('SELECT last_error FROM jacksync.stream_state'));
JackSync::Node::wait_for($node, "SELECT min(last_sync_at) > now() - interval '10 s' FROM jacksync.stream_state", 'and is read once more');
sleep 1;

my %records = map { my $r = $pms->record('guests', $_); ($_ => $r) } keys %{ $there->() }, map { sprintf 'GST-%06d', $_ } 1 .. 12;
my %live = map { ($_ => $records{$_}) } grep { $records{$_}{name} && !$records{$_}{deleted} } keys %records;
my %names;
# names that were ever at the PMS by us: a tombstone has lost its name, so count what is live
$names{ $live{$_}{name} }++ for keys %live;
is(join(' ', grep { $names{$_} > 1 && /^N/ } sort keys %names), '', 'no row has two records');
my @rows = map { [ split /\|/, $_, -1 ] } split /\n/, decode_utf8 $sql->("SELECT external_id, name, phone, email FROM guests ORDER BY 1");
is(join(' ', map { $_->[0] } @rows), join(' ', sort keys %live), 'the same records are on both sides');
my @differ = grep { my $r = $live{ $_->[0] }; !$r || $r->{name} ne $_->[1] || ($r->{phone} // '') ne $_->[2] || ($r->{email} // '') ne $_->[3] } @rows;
is(join(' ', map { "@$_" } @differ), '', 'with the same values');
is($sql->("SELECT count(*) FROM jacksync.record WHERE entity = 'guests' AND NOT deleted AND sync_status <> 'synced'"), 0, 'all are synced');
# what the PMS deleted before we heard that it was there is created again, if it knows no keys
my (%acted, %gone, @twice);
for my $event (@{ $pms->history })
{
	my (undef, $id, undef, $cause) = @$event;
	$gone{$id} = 1 if $cause !~ /^api/ && $records{$id}{deleted};
	next unless $cause =~ /^api ./;
	push @twice, [ $cause, $acted{$cause}, $id ] if exists $acted{$cause} && ($acted{$cause} eq $id || !$gone{ $acted{$cause} });
	$acted{$cause} = $id;
}
is(scalar(@twice), 0, 'no key acted twice')
  or diag(map { my ($key, @ids) = @$_; JSON::PP->new->canonical->encode([ grep { $_->[1] =~ /^(?:$ids[0]|$ids[1])$/ } @{ $pms->history } ]), "\n",
	$sql->("SELECT to_jsonb(i) FROM jacksync.intent i WHERE idempotency_key::text = '" . $key =~ s/^api //r . "'"), "\n" } @twice);
is($sql->("SELECT string_agg(DISTINCT error, ' / ') FROM jacksync.sync_error WHERE state = 'dead'"), '', 'nothing is left for a person');
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
done_testing();
