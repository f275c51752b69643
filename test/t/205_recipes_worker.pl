# A chain of hotels with different PMSs: every recipe in a database of its own,
# driven by the worker alone.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my %hotels = (
	apaleo => {
		address => [ 'https://api.apaleo.com', 'https://identity.apaleo.com' ],
		secrets => { apaleo_client_id => 'ABCD-SP-JACK', apaleo_client_secret => 'hotel-secret' },
		edit => [ 'reservations', 'B0000001-1', { comment => 'from the PMS' } ], seen => "special_requests = 'from the PMS'",
		local => "special_requests = 'from here' WHERE external_id = 'B0000002-1'",
		there => [ 'reservations', 'B0000002-1', sub { ($_[0]{comment} // '') =~ /from here/ } ] },
	cloudbeds => {
		address => ['https://api.cloudbeds.com'], secrets => { cloudbeds_api_key => 'cbat_sample' },
		edit => [ 'reservations', '8176000000001', { status => 'no_show' } ], seen => "status = 'no_show'",
		local => "arrival_time = '18:30' WHERE external_id = '8176000000002'",
		there => [ 'reservations', '8176000000002', sub { $_[0]{estimatedArrivalTime} eq '18:30' } ] },
	mews => {
		address => ['https://api.mews.com'],
		secrets => { mews_client_token => 'CLIENT-TOKEN', mews_access_token => 'ACCESS-TOKEN' },
		edit => [ 'reservations', 'cb20b314-3f84-5b96-8efc-b927558f3ccc', { ChannelNumber => 'X1' } ], seen => "channel_number = 'X1'",
		local => "ends_at = '2027-06-01 10:00+00' WHERE number = '52'",
		there => [ 'reservations', undef, sub { $_[0]{ScheduledEndUtc} eq '2027-06-01T10:00:00Z' } ] },
	opera => {
		address => ['https://ohip.example-hotels.com'],
		secrets => { opera_client_id => 'OPERA-CLIENT', opera_client_secret => 'hotel-secret', opera_app_key => 'APP-KEY' },
		edit => [ 'reservations', '571001', { reservationStatus => 'InHouse' } ], seen => "status = 'checked_in'",
		local => "special_requests = 'from here' WHERE external_id = '571002'",
		there => [ 'reservations', '571002', sub { $_[0]{comments}[0]{comment}{text}{value} =~ /from here/ } ] });

my $node = PostgreSQL::Test::Cluster->new('chain');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_min_messages = info\nshared_preload_libraries = 'jacksync'\n"
		. "jacksync.databases = '" . join(', ', sort keys %hotels) . "'\nmax_worker_processes = 16\n");
$node->start;

foreach my $name (sort keys %hotels)
{
	my $hotel = $hotels{$name};
	my $pms = $hotel->{pms} = JackSync::PMS->start(script => "dialects/$name.py");
	my $recipe = JackSync::Recipe->new($name, map { ($_ => $pms->url) } @{ $hotel->{address} });

	$recipe->secret($_ => $hotel->{secrets}{$_}) foreach sort keys %{ $hotel->{secrets} };
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$recipe->database($name);
	$recipe->run($node, qw(Connect Tables Rules Reservations Guests Rooms));
	$node->safe_psql($name, "UPDATE jacksync.stream SET poll_interval = '500 ms'");
}

# wait_until(what, condition): for a minute
sub wait_until
{
	my ($what, $condition) = @_;

	for my $try (1 .. 600)
	{
		return pass($what) if $condition->();
		select undef, undef, undef, 0.1;
	}
	fail($what);
	diag(join "\n", map { $_ . ': ' . $node->safe_psql($_, 'SELECT entity, status, message FROM jacksync.status') } sort keys %hotels);
	return 0;
}
my $is = sub { my ($name, $query) = @_; return $node->safe_psql($name, "SELECT $query") eq 't'; };

foreach my $name (sort keys %hotels)
{
	wait_until("$name: the worker loads all",
		sub { $is->($name, "(SELECT count(*) FROM reservations) = 25 AND (SELECT count(*) FROM guests) >= 10 AND (SELECT count(*) FROM rooms) >= 8"); });
}
foreach my $name (sort keys %hotels)
{
	$hotels{$name}{pms}->edit(@{ $hotels{$name}{edit} });
	$node->safe_psql($name, "UPDATE reservations SET $hotels{$name}{local}");
}
foreach my $name (sort keys %hotels)
{
	my $hotel = $hotels{$name};
	my ($coll, $id, $check) = @{ $hotel->{there} };

	wait_until("$name: a change of the PMS arrives",
		sub { $is->($name, "EXISTS (SELECT FROM reservations WHERE external_id = '$hotel->{edit}[1]' AND $hotel->{seen})"); });
	wait_until("$name: a change of ours is there",
		sub { return scalar grep { $check->($hotel->{pms}->record($coll, $_)) } defined $id ? ($id) : @{ $hotel->{pms}->ids($coll) }; });
	wait_until("$name: all is synced",
		sub { $is->($name, "NOT EXISTS (SELECT FROM jacksync.record WHERE sync_status <> 'synced')"); });
	is($node->safe_psql($name, "SELECT count(*) FROM jacksync.sync_error WHERE state <> 'resolved'"), 0, "$name: and nothing failed");
}
$node->stop;
done_testing();
