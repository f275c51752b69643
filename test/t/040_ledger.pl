# A short run of the ledger: see test/soak/ledger.py.  SEED may be set; the
# long form is "make soak".
use strict;
use warnings FATAL => 'all';
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{SEED} // int(rand(1_000_000));
my ($out, $err) = run_command([ '/usr/bin/python3', "$FindBin::RealBin/../soak/ledger.py", '--seconds', 10, '--seed', $seed,
	'--place', PostgreSQL::Test::Utils::tempdir_short() ]);
diag($err) if $err ne '';
note($out);
like($out, qr/edits [1-9]\d+ wrong 0$/, "both sides are the same, nothing is lost, invented, revived or sent twice (seed $seed)") or diag($out);
done_testing();
