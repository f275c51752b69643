# Two hotels in one table: each row goes to, and comes from, its own PMS.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %pms = map { ($_ => JackSync::PMS->start(guests => 4, reservations => 0, seed => $_ eq 'MUC' ? 1 : 2)) } qw(MUC VIE);
my $node = PostgreSQL::Test::Cluster->new('chain');
$node->init;
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(q{
	CREATE EXTENSION jacksync;
	CREATE TABLE guests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, hotel text, external_id text, name text, tags text[], UNIQUE (hotel, external_id));
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('guests', 'tags', 'merge'), ('guests', 'name', 'latest_wins');
	INSERT INTO jacksync.entity (entity, local_table, property_column) VALUES ('guests', 'guests', 'hotel');
});
for my $hotel (sort keys %pms)
{
	my $url = $pms{$hotel}->url;
	$pms{$hotel}->config({ auth => 'none' });
	$sql->(qq{
		CREATE SERVER $hotel FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '$url');
		INSERT INTO jacksync.stream (entity, server, request, record_path, paginator, property_value, push) VALUES ('guests', '\L$hotel\E',
			'{"path": "/v1/guests", "query": {"updatedSince": "{since}", "page": "{page}", "pageSize": "{limit}"}}',
			'\$.data[*]', '{"type": "page_number", "page_size": 100}', '$hotel',
			'{"read": {"path": "/v1/guests/{record.id}"}, "if_match": "etag",
			  "update": {"method": "PATCH", "path": "/v1/guests/{record.id}"},
			  "create": {"method": "POST", "path": "/v1/guests", "id_path": "\$.id"}}');
	});
}
$sql->('CALL jacksync.sync()');
is($sql->('SELECT hotel, count(*) FROM guests GROUP BY 1 ORDER BY 1'), "MUC|4\nVIE|4", 'both hotels have the same ids, and rows of their own');
is($sql->('SELECT count(DISTINCT name) > 4 FROM guests'), 't', 'with names of their own');

$sql->("UPDATE guests SET tags = '{from vienna}' WHERE hotel = 'VIE' AND external_id = 'GST-000002'");
$sql->("INSERT INTO guests (hotel, name, tags) VALUES ('VIE', 'New in Vienna', '{new}'), ('MUC', 'New in Munich', '{new}'), ('GRZ', 'No such hotel', '{new}'), (NULL, 'No hotel', '{new}')");
$sql->("CALL jacksync.sync(server => 'muc')");
$sql->("CALL jacksync.sync(server => 'vie')");
like("@{ $pms{VIE}->record('guests', 'GST-000002')->{tags} }", qr/from vienna/, 'an edit goes to its own hotel');
is($pms{MUC}->requests('PATCH', qr/./), 0, 'and to no other');
is($pms{MUC}->requests('POST', qr{/v1/guests$}) . '/' . $pms{VIE}->requests('POST', qr{/v1/guests$}), '1/1', 'each new guest is created once');
is($sql->("SELECT string_agg(name, ',' ORDER BY name) FROM guests WHERE external_id IS NULL"), 'No hotel,No such hotel', 'but those without a hotel');
my ($munich) = map { $_->{body} } grep { $_->{method} eq 'POST' } @{ $pms{MUC}->log };
like($munich, qr/New in Munich/, 'in its own hotel');

# a hotel that comes later takes what waited for it
$sql->("INSERT INTO jacksync.stream (entity, server, request, record_path, paginator, property_value, push)
	SELECT entity, 'grz', request, record_path, paginator, 'GRZ', push FROM jacksync.stream WHERE server = 'muc'") if $sql->("CREATE SERVER grz FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $pms{MUC}->url . "'); SELECT true");
$sql->("CALL jacksync.sync(server => 'grz')");
is($pms{MUC}->requests('POST', qr{/v1/guests$}), 2, 'a row that waited for its hotel is created when that comes');

# freshness: the oldest counts, or the one asked for
$sql->("UPDATE jacksync.stream_state t SET last_sync_at = now() - interval '2 hours' FROM jacksync.stream s WHERE s.stream_id = t.stream_id AND s.server = 'vie'");
is($sql->("SELECT (jacksync.check_freshness('guests')).status, (jacksync.check_freshness('guests', NULL, 'muc')).status"), 'critical|fresh', 'one hotel is old, the other is not');
$node->stop;
done_testing();
