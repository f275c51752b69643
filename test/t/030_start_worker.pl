# start_worker() without preloading; the clone guard.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
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

# a secret that stands in a file is in no log, table or view
my $secret = 'CANARY-' . int(rand(1e9));
my $file = $node->basedir . '/secret';
append_to_file($file, "$secret\n");
$pms->config({ client_secret => $secret });
$pms->control('POST', 'expire', {});
$sql->("ALTER USER MAPPING FOR CURRENT_USER SERVER sample_pms OPTIONS (SET client_secret 'file:$file')");
$sql->("SELECT jacksync.sync_now()");
$pms->edit('guests', 'GST-000002', { name => 'After' });
$wait->("SELECT name = 'After' FROM guests WHERE external_id = 'GST-000002'", 'a secret is read from a file');
my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr('postgres') ]);
unlike($dump, qr/$secret/, 'it is not in a dump');
unlike($dump, qr/access_token|COPY jacksync.token/, 'nor is a token');
unlike(slurp_file($node->logfile), qr/$secret/, 'nor in the log');

$node->stop;
done_testing();
