# doc/reference.md is what the catalog says.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('reference');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION jacksync');
my ($now, $err) = run_command([ "$FindBin::RealBin/../bin/reference.sh", $node->connstr('postgres') ]);
is($err, '', 'the reference is made without a word');
my $kept = slurp_file("$FindBin::RealBin/../../doc/reference.md");
chomp $kept;
is($now, $kept, 'doc/reference.md is up to date (if not: make reference)');
unlike($now, qr/\| \|$/m, 'everything has a comment');
like($now, qr/JS001.*STALE_DATA.*too old/, 'errors are in it');
like($now, qr/^\| `jacksync\.audit_retention` \| `525600min`/m, 'and settings');

# the README names every function that people call, every view and every setting
my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my @missing = grep { $readme !~ /\b\Q$_\E\b/ } split /\n/, $node->safe_psql('postgres', q{
	LOAD 'jacksync';
	SELECT DISTINCT p.proname FROM pg_proc p WHERE p.pronamespace = 'jacksync'::regnamespace
		AND p.prorettype <> 'trigger'::regtype AND obj_description(p.oid, 'pg_proc') !~ '\(internal\)'
	UNION SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'jacksync'::regnamespace AND c.relkind = 'v'
	UNION SELECT s.name FROM pg_settings s WHERE s.name LIKE 'jacksync.%' AND s.category NOT LIKE 'Developer%' ORDER BY 1});
is("@missing", '', 'the README names all of them');
$node->stop;
done_testing();
