# What the worker keeps open: connections of servers and credentials that are
# not used any more give way, whatever becomes of the requests.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(sleep);
use Test::More;

plan skip_all => 'needs /proc' unless -d "/proc/$$/fd";

my $pms = JackSync::PMS->start(reservations => 5, guests => 5);
my $node = JackSync::Node::hotel('descriptors', $pms, preload => 1, poll => '100 ms', conf => "max_files_per_process = 128\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, $_[0], $_[1]); };
my $well = "SELECT count(*) = 2 FROM jacksync.status WHERE status IN ('connected', 'syncing') AND failure_count = 0";
my $sockets = sub {
	my $pid = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
	return scalar grep { (readlink($_) // '') =~ /^socket/ } glob "/proc/$pid/fd/*";
};
# turn(pattern): until the worker has asked once more
my $turn = sub {
	my $asked = $pms->requests('GET', qr/./);
	for (1 .. 300) { last if $pms->requests('GET', qr/./) > $asked; sleep 0.02; }
};
$wait->($well, 'all is well');

# faults, and new tokens
$sql->("ALTER SERVER sample_pms OPTIONS (SET timeout '300 ms')");
my @faults = ({ kind => 'reset' }, { kind => 'hang' }, { kind => 'garbage' }, { kind => 'truncate' }, { kind => 'status', status => 500 });
for my $round (1 .. 15)
{
	$pms->faults({ %{ $faults[ $round % @faults ] }, count => 1, match => { path => '/v1/' } });
	$pms->expire if $round % 5 == 0;
	$sql->('SELECT jacksync.sync_now()');
	$turn->();
}
$pms->heal;
$sql->('SELECT jacksync.sync_now()');
$wait->($well, 'after faults and new tokens all is well');
cmp_ok($sockets->(), '<', 20, 'and few sockets are open');

# other credentials, again and again: every one has connections of its own
for my $round (1 .. 40)
{
	$sql->("ALTER SERVER sample_pms OPTIONS (SET timeout '${\ (3000 + $round)} ms'); SELECT jacksync.sync_now()");
	$turn->();
}
$pms->edit('guests', 'GST-000001', { name => 'At Last' });
$sql->('SELECT jacksync.sync_now()');
$wait->("SELECT name = 'At Last' FROM guests WHERE external_id = 'GST-000001'", 'under the fortieth credentials it works as under the first');
$wait->($well, 'and all is well');
cmp_ok(my $n = $sockets->(), '<', 50, 'connections of earlier ones gave way');
note("$n sockets are open");
unlike(slurp_file($node->logfile), qr/too many open files|TRAP|PANIC|terminated by signal/, 'descriptors did not run out');
$node->stop;
done_testing();
