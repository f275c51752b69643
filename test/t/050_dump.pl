# pg_dump and restore: configuration and state come along, and the copy keeps
# quiet until it is adopted.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 10);
my $node = JackSync::Node::hotel('dump', $pms);
$node->safe_psql('postgres', 'CALL jacksync.sync()');
$node->safe_psql('postgres', "UPDATE guests SET tags = '{waits}' WHERE external_id = 'GST-000001'");

my $file = $node->basedir . '/dump.sql';
command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $file ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE template0');
my ($out, $err) = run_command([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('copy'), '-f', $file ]);
is($err, '', 'restore without a word');

for my $query (
	'SELECT entity, local_table, on_local_edit FROM jacksync.entity ORDER BY 1',
	'SELECT entity, field, strategy FROM jacksync.authority ORDER BY 1, 2',
	'SELECT entity, server, request, push FROM jacksync.stream ORDER BY 1',
	'SELECT entity, external_id, local_id, sync_status, snapshot FROM jacksync.record ORDER BY 1, 2',
	'SELECT * FROM jacksync.alert_threshold ORDER BY 1',
	'SELECT tgname, tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2')
{
	is($node->safe_psql('copy', $query), $node->safe_psql('postgres', $query), $query);
}

# the copy keeps quiet
my $before = scalar @{ $pms->log };
my ($status, $row) = $node->psql('copy', "CALL jacksync.sync('guests')");
like($row, qr/copied from another cluster or database/, 'the copy refuses to talk to the PMS');
is(scalar @{ $pms->log }, $before, 'and does not');
$node->safe_psql('copy', 'SELECT jacksync.adopt()');
$node->safe_psql('copy', "CALL jacksync.sync('guests')");
is($node->safe_psql('copy', "SELECT sync_status FROM jacksync.record WHERE external_id = 'GST-000001'"),
	'synced', 'after adopt() what waited is pushed');
is($node->safe_psql('copy', "SELECT created FROM jacksync.apply('guests', '[{\"id\": \"NEW\", \"name\": \"New\"}]')"), 1,
	'and numbering goes on');
$node->stop;
done_testing();
