# doc/ecosystem: what is said there works.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $place = "$FindBin::RealBin/../../doc/ecosystem";
my $pms = JackSync::PMS->start(reservations => 20, guests => 10);
my $node = JackSync::Node::hotel('ecosystem', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $cron = -e $node->config_data('--pkglibdir') . '/pg_cron.so' && -e $node->config_data('--sharedir') . '/extension/pg_cron.control';
$node->append_conf('postgresql.conf', "wal_level = logical\n"
		. ($cron ? "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\ncron.use_background_workers = on\nmax_worker_processes = 20\n" : ''));
$node->restart;
$sql->('CALL jacksync.sync()');
$sql->("CREATE ROLE exporter LOGIN; SELECT jacksync.grant_access('exporter', 'reader')");
$sql->("UPDATE jacksync.authority SET strategy = 'manual' WHERE entity = 'reservations' AND field = 'rateCode'");

# as the role that is to run them
my $reader = sub { return $node->safe_psql('postgres', $_[0], connstr => $node->connstr('postgres') . ' user=exporter'); };

# postgres_exporter: every query runs, and gives the columns that are declared
my $yaml = slurp_file("$place/queries.yaml");
my %wanted;
my $name;
for (split /\n/, $yaml)
{
	$name = $1 if /^(\w+):$/;
	$wanted{$name}{query} = $1 if /^  query: "(.*)"$/;
	push @{ $wanted{$name}{columns} }, $1 if /^    - (\w+):$/;
}
cmp_ok(scalar keys %wanted, '>=', 4, 'queries for the exporter');
for (sort keys %wanted)
{
	my ($status, $out, $err) = $node->psql('postgres', "$wanted{$_}{query} \\gdesc", extra_params => [ '-U', 'exporter' ]);
	is(join(' ', map { (split /\|/)[0] } split /\n/, $out), join(' ', @{ $wanted{$_}{columns} }), "$_ has the columns that are declared");
	($status) = $node->psql('postgres', $wanted{$_}{query}, extra_params => [ '-U', 'exporter' ]);
	is($status, 0, 'and runs as a reader');
}

# Grafana: every panel's query runs
my $board = decode_json(slurp_file("$place/grafana.json"));
for my $panel (@{ $board->{panels} })
{
	my $query = $panel->{targets}[0]{rawSql};
	$query =~ s/\$__timeFilter\((\w+)\)/$1 BETWEEN now() - interval '6 hours' AND now()/g;
	my ($status, $out, $err) = $node->psql('postgres', $query, extra_params => [ '-U', 'exporter' ]);
	is($err, '', "panel \"$panel->{title}\" runs as a reader");
}

# PostgREST: the form that response.headers takes
is($sql->("BEGIN; SELECT jacksync.set_freshness_headers('reservations') \\g /dev/null\nSELECT current_setting('response.headers')::jsonb -> 0 ->> 'X-Data-Freshness'; COMMIT"), 'fresh',
	'the headers for PostgREST');

# logical decoding and LISTEN: a conflict reaches both
$sql->("CREATE PUBLICATION conflicts FOR TABLE jacksync.manual_conflict");
$sql->("SELECT pg_create_logical_replication_slot('conflicts', 'test_decoding')");
$pms->edit('reservations', 'RES-000001', { rateCode => 'THEIRS' });
$sql->("UPDATE reservations SET rate_code = 'OURS' WHERE external_id = 'RES-000001'");
my ($status, $out) = $node->psql('postgres', "LISTEN jacksync_conflict; LISTEN jacksync_alert; CALL jacksync.sync('reservations')");
like($out, qr/Asynchronous notification "jacksync_conflict" with payload "\{.*RES-000001.*\}"/, 'LISTEN hears of a conflict');
like($out, qr/Asynchronous notification "jacksync_alert" with payload "\{.*Data conflict detected for reservations RES-000001.*\}"/, 'and of its alert');
like($sql->("SELECT data FROM pg_logical_slot_get_changes('conflicts', NULL, NULL)"), qr/table jacksync\.manual_conflict: INSERT:.*RES-000001/,
	'logical decoding sees it');

SKIP:
{
	skip 'pg_cron is not installed', 2 unless $cron;
	$sql->('CREATE EXTENSION pg_cron');
	$pms->edit('reservations', 'RES-000002', { roomNumber => '777' });
	my $version = $sql->("SELECT extversion >= '1.5' FROM pg_extension WHERE extname = 'pg_cron'");
	$sql->("SELECT cron.schedule('jacksync', '" . ($version eq 't' ? '2 seconds' : '* * * * *') . "', 'CALL jacksync.sync()')");
	ok($node->poll_query_until('postgres', "SELECT room_number = '777' FROM reservations WHERE external_id = 'RES-000002'"), 'pg_cron calls sync()');
	ok($node->poll_query_until('postgres', "SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded'"), 'and says that it succeeded');
}
$node->stop;
done_testing();
