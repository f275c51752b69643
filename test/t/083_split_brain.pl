# Two primaries (P10): a standby is promoted while the old primary lives.  The
# clone guard cannot see that; If-Match makes the second writer look first, so
# that nobody's change is lost and none takes effect twice.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 5, guests => 12);
my $old = JackSync::Node::hotel('old', $pms, preload => 1, poll => '300 ms', init => { allows_streaming => 1 });
my $in_sync = "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND failure_count = 0";
JackSync::Node::wait_for($old, $in_sync, 'the primary is in sync');
$old->backup('b');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'b', has_streaming => 1);
$new->start;
$old->wait_for_catchup($new);
$new->promote;
JackSync::Node::wait_for($new, $in_sync, 'the standby is promoted, and polls');
is($old->safe_psql('postgres', "SELECT count(*) FROM jacksync.worker_status WHERE state <> 'dead'"), 1, 'the old primary goes on');

# both change the same records, at the same time, again and again
my %wanted;
for my $round (1 .. 4)
{
	for my $i (1 .. 10)
	{
		my $guest = sprintf 'GST-%06d', $i;
		for my $side ([ old => $old ], [ new => $new ])
		{
			my ($name, $node) = @$side;
			$node->safe_psql('postgres', "UPDATE guests SET tags = tags || '{$name-$round}' WHERE external_id = '$guest'");
			$wanted{$guest}{"$name-$round"} = 1;
		}
	}
}
my $quiet = "SELECT count(*) = 0 FROM jacksync.record WHERE sync_status <> 'synced'";
JackSync::Node::wait_for($old, $quiet, 'the old primary has nothing left to tell');
JackSync::Node::wait_for($new, $quiet, 'nor has the new one');
my $since = $new->safe_psql('postgres', 'SELECT clock_timestamp()');
JackSync::Node::wait_for($_, "SELECT min(last_sync) > '$since' FROM jacksync.status WHERE status = 'connected'", 'both have read what the other one told') for $old, $new;
JackSync::Node::wait_for($_, $quiet, 'and have nothing to add') for $old, $new;

my ($lost, $twice) = ('', '');
my %effects;
for my $guest (sort keys %wanted)
{
	my %there;
	$there{$_}++ for @{ $pms->record('guests', $guest)->{tags} };
	$lost .= " $guest:$_" for grep { !$there{$_} } sort keys %{ $wanted{$guest} };
	$twice .= " $guest:$_" for grep { $there{$_} > 1 } sort keys %there;
}
is($lost, '', 'no change is lost at the PMS');
is($twice, '', 'and none is there twice');
my %keys;
$keys{ $_->{headers}{'Idempotency-Key'} // $_->{headers}{'idempotency-key'} // '' }{ $_->{body} // '' } = 1 for grep { $_->{method} eq 'PATCH' } @{ $pms->log };
is(scalar(grep { keys %{ $keys{$_} } > 1 } keys %keys), 0, 'no key of idempotency stands for two requests') unless $keys{''};
for my $side ([ old => $old ], [ new => $new ])
{
	my ($name, $node) = @$side;
	my $rows = $node->safe_psql('postgres', 'SELECT external_id, array_to_string(tags, \',\') FROM guests ORDER BY 1');
	my $missing = '';
	for my $row (split /\n/, $rows)
	{
		my ($guest, $tags) = split /\|/, $row, 2;
		my %here = map { $_ => 1 } split /,/, $tags // '';
		$missing .= " $guest:$_" for grep { !$here{$_} } sort keys %{ $wanted{$guest} // {} };
	}
	is($missing, '', "the $name primary has both sides' changes");
}
$old->stop;
$new->stop;
done_testing();
