# start_worker() without preloading; the clone guard.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 5, guests => 5);
my $node = JackSync::Node::hotel('start', $pms, poll => '300 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };

my $pid = $sql->('SELECT jacksync.start_worker()');
like($pid, qr/^\d+$/, 'start_worker() gives a process id');
$wait->("SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'and the worker works');
is($sql->('SELECT jacksync.start_worker()'), $pid, 'a second call finds it running');

# a copy of the database must not talk to the PMS
$sql->('UPDATE jacksync.installation SET system_identifier = 4711');
my $writes = $pms->requests('PATCH', qr/./);
$sql->("UPDATE guests SET tags = '{clone}' WHERE external_id = 'GST-000001'");
$wait->("SELECT bool_and(failure_count > 0) FROM jacksync.status", 'a copy of the database is refused');
like($sql->("SELECT message FROM jacksync.status LIMIT 1"), qr/copied from another cluster/, 'and says why');
is($pms->requests('PATCH', qr/./), $writes, 'nothing was sent');
$sql->('SELECT jacksync.adopt()');
$sql->('SELECT jacksync.sync_now()');
$wait->("SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'GST-000001'", 'adopt() makes it the original');

$node->stop;
done_testing();
