# A short run of the ledger: see test/ledger.py.  SECONDS and SEED may be set.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 60, guests => 20);
my $node = JackSync::Node::hotel('ledger', $pms, preload => 1, poll => '200 ms');
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

my $seed = $ENV{SEED} // 1;
my ($out) = run_command([ '/usr/bin/python3', "$FindBin::RealBin/../ledger.py", $pms->port,
	$node->connstr('postgres'), $ENV{SECONDS} // 15, $seed ]);
like($out, qr/edits [1-9]\d+ lost 0 diverged 0/, "nothing is lost, both sides are the same (seed $seed)") or diag($out);
is($node->safe_psql('postgres', "SELECT count(*) FROM jacksync.intent WHERE state IN ('claimed', 'unknown')"), 0, 'no push is open');

# idle is silent
my $writes = $pms->requests('PATCH', qr/./);
my $changes = $node->safe_psql('postgres', "SELECT sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname = 'reservations'");
select undef, undef, undef, 2;
is($pms->requests('PATCH', qr/./), $writes, 'when nobody edits, nothing is sent');
is($node->safe_psql('postgres', "SELECT sum(n_tup_upd) FROM pg_stat_user_tables WHERE relname = 'reservations'"),
	$changes, 'and no row is written');
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
done_testing();
