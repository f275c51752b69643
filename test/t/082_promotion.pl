# Promotion under load: people write on both sides while the primary dies.
# What was acknowledged arrives, and no change takes effect twice.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use Test::More;

my $pms = JackSync::PMS->start(reservations => 30, guests => 10);
my $node = JackSync::Node::hotel('first', $pms, preload => 1, poll => '200 ms', init => { allows_streaming => 1 });
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'the primary is in sync');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('second');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
# a commit that was acknowledged is on the standby as well
$node->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = '*'");
$node->reload;
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'");

my (%here, %there);
my $n = 0;
my $until = time + 5;
while (time < $until)
{
	$n++;
	my $guest = sprintf 'GST-%06d', $n % 5 + 1;
	my ($status) = $node->psql('postgres', "UPDATE guests SET notes = 'local $n' WHERE external_id = '$guest'");
	$here{$guest} = "local $n" if $status == 0;
	my $other = sprintf 'GST-%06d', $n % 5 + 6;
	$pms->edit('guests', $other, { name => "Remote $n" });
	$there{$other} = "Remote $n";
}
cmp_ok($n, '>', 10, 'both sides were written to');
$node->stop('immediate');
$standby->safe_psql('postgres', "SELECT count(*) FROM jacksync.status");
$standby->promote;
$standby->safe_psql('postgres', "ALTER SYSTEM RESET synchronous_standby_names");
$standby->reload;
JackSync::Node::wait_for($standby, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND failure_count = 0", 'after promotion the worker starts');
JackSync::Node::wait_for($standby, "SELECT count(*) = 0 FROM jacksync.link WHERE dirty OR waiting OR intent_id IS NOT NULL", 'what was open is settled');
JackSync::Node::wait_for($standby, "SELECT count(*) = 0 FROM jacksync.change", 'what was captured is taken up');
my $asked = $standby->safe_psql('postgres', "SELECT clock_timestamp() FROM jacksync.sync_now('guests')");
JackSync::Node::wait_for($standby, "SELECT last_sync > '$asked' FROM jacksync.status WHERE entity = 'guests'", 'a whole run');

for my $guest (sort keys %here)
{
	like($pms->record('guests', $guest)->{notes}, qr/$here{$guest}\b/, "$guest: what was acknowledged here is at the PMS");
}
for my $guest (sort keys %there)
{
	is($standby->safe_psql('postgres', "SELECT name FROM guests WHERE external_id = '$guest'"), $there{$guest}, "$guest: what the PMS changed is here");
}
my (%effects, @twice);
for my $entry (@{ $pms->history })
{
	my ($collection, $id, $version, $cause) = @$entry;
	push @twice, $cause if $cause =~ /^api \S/ && $effects{$cause}++;
}
cmp_ok(scalar keys %effects, '>', 5, 'pushes took effect');
is("@twice", '', 'none of them twice');
is($standby->safe_psql('postgres', "SELECT count(*) FROM jacksync.sync_error WHERE state IN ('retry', 'dead')"), 0, 'nothing failed');
$standby->stop;
done_testing();
