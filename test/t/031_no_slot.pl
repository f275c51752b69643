# No worker slot is left (P7): it is said, with what to do about it; local
# changes are captured meanwhile, and go out once there is one.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 5, guests => 5);
# one is the server's own: for logical replication
my $node = JackSync::Node::hotel('no_slot', $pms, poll => '300 ms', conf => "max_worker_processes = 1\n");
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->("CALL jacksync.sync()");

# not preloaded: the caller is told
my ($status, $out, $err) = $node->psql('postgres', 'SELECT jacksync.start_worker()');
isnt($status, 0, 'start_worker() without a slot is an error');
like($err, qr/ERROR:  could not start the jacksync worker\n.*HINT:  Increase max_worker_processes\./s, 'which says what to do');
$sql->("UPDATE guests SET tags = '{waited}' WHERE external_id = 'GST-000001'");
is($sql->('SELECT count(*) FROM jacksync.change'), 1, 'what is changed is captured');
like($sql->("SELECT status, hint FROM jacksync.diagnose() WHERE check_name = 'worker'"), qr/^error\|SELECT jacksync\.start_worker\(\)/, 'diagnose() says that no worker runs');

# preloaded: the launcher has a slot, and its worker none
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jacksync'\njacksync.databases = 'postgres'\nmax_worker_processes = 2\n");
my $from = -s $node->logfile;
$node->restart;
my $log = '';
for (1 .. 600) { $log = substr slurp_file($node->logfile), $from; last if $log =~ /could not start its worker/; select undef, undef, undef, 0.1; }
like($log, qr/LOG:  jacksync could not start its worker for database "postgres"\n.*HINT:  Increase max_worker_processes\./s, 'the log says so');
is($sql->("SELECT count(*) FROM jacksync.worker_status WHERE state <> 'dead'"), 0, 'no worker runs');
like($sql->("SELECT status, message FROM jacksync.diagnose() WHERE check_name = 'worker'"), qr/^error\|The worker /, 'and diagnose() says it');
$sql->("CALL jacksync.sync('reservations')");
is($sql->("SELECT success FROM jacksync.sync_run WHERE entity = 'reservations' ORDER BY run_id DESC LIMIT 1"), 't', 'a session can do the work');

# a slot
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
JackSync::Node::wait_for($node, "SELECT count(*) = 1 FROM jacksync.worker_status WHERE state <> 'dead'", 'with a slot the worker starts');
JackSync::Node::wait_for($node, "SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'GST-000001'", 'and what waited is pushed');
is("@{ $pms->record('guests', 'GST-000001')->{tags} }" =~ /waited/ ? 'there' : 'not there', 'there', 'and has arrived');

$node->stop;
done_testing();
