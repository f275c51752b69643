# Apaleo as doc/pms/apaleo.md configures it, against a server that speaks its
# dialect.  Traps of real documents that are met here: 1 (one instant on a
# page border), 2 (no fractions in filters, seven digits in records), 5 (204 on
# the first and the last page), 9 (count is wrong), 13 (cancelled ones are
# asked for), 17 (the token ends), 18 (a page that is too big), 31 (the sign of
# a zone).
use strict;
use warnings FATAL => 'all';
use Encode;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(script => 'dialects/apaleo.py', reservations => 30, rooms => 12);
my $recipe = JackSync::Recipe->new('apaleo', 'https://api.apaleo.com' => $pms->url,
	'https://identity.apaleo.com' => $pms->url);
$recipe->secret(apaleo_client_id => 'ABCD-SP-JACK');
$recipe->secret(apaleo_client_secret => 'hotel-secret');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, $_[0] // 'reservations'); };

$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations', 'Guests', 'Rooms');

# pages that cut through one instant: nothing is lost (1), and the end is 204 (5)
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 5}' WHERE entity <> 'rooms'");
my $run = $sync->();
is("$run->{success}/$run->{created}", 't/30', 'every reservation is there');
is(scalar(grep { ($_->{status} // 0) == 204 } @{ $pms->log }), 1, 'after a last page without content');
like((grep { $_->{path} =~ /reservations/ } @{ $pms->log })[0]{query}{from}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'the filter is in whole seconds');
my $guest = $pms->record('reservations', 'B0000002-1')->{primaryGuest};
is($sql->("SELECT guest_name, status, adults, children, room_type, rate_code FROM reservations WHERE external_id = 'B0000002-1'"),
	encode('UTF-8', "$guest->{firstName} $guest->{lastName}|confirmed|1|0|Double|FLEX"), 'with its values');
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE email = 'guest7\@example.com' AND phone = '+49 89 000007'"), 1, 'guests are there');
$sync->('rooms');
is($sql->("SELECT count(*), count(*) FILTER (WHERE status = 'occupied'), count(*) FILTER (WHERE housekeeping = 'dirty') FROM rooms"), '12|4|6', 'rooms are there');

# nothing new: one page without content (5)
$sql->("UPDATE jacksync.stream SET lookback_window = '0'");
$pms->forget_log;
$run = $sync->();
is("$run->{success}/$run->{created}/$run->{updated}", 't/0/0', 'a second sync changes nothing');
$run = $sync->('rooms');
is("$run->{success}/$run->{unchanged}/$run->{updated}", 't/12/0', 'rooms are all read, and none is changed');

# a change of the PMS, a cancellation (13), with the watermark at seven digits (2)
$pms->edit('reservations', 'B0000003-1', { unit => { id => 'MUC-U009', name => 'A.109' } });
$pms->edit('reservations', 'B0000004-1', { status => 'Canceled' });
$run = $sync->();
is("$run->{success}/$run->{updated}", 't/2', 'two changes arrive');
is($sql->("SELECT room_number, status FROM reservations WHERE external_id IN ('B0000003-1', 'B0000004-1') ORDER BY external_id"),
	"A.109|confirmed\n|cancelled", 'with their values');
$run = $sync->();
is("$run->{success}/$run->{updated}", 't/0', 'and only once');

# a zone in the filter is encoded (31)
$sql->("UPDATE jacksync.stream SET datetime_format = 'iso_offset', datetime_zone = 'Europe/Berlin', granularity = '1 second' WHERE entity = 'reservations'");
$run = $sync->();
is($run->{success}, 't', 'a time with its zone is taken');
like((grep { $_->{path} =~ /reservations/ } @{ $pms->log })[-1]{query}{from}, qr/\+0[01]:00$/, 'and was sent with it');

# the count is wrong (9)
$pms->config({ count => 0 });
$sql->("UPDATE jacksync.stream SET lookback_window = '30 days' WHERE entity = 'reservations'");
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/30', 'a count of nothing ends no walk');

# a page is too big: the words of the PMS are there (18), the watermark stays
my $watermark = $sql->("SELECT watermark FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'");
$pms->config({ max_page_size => 4 });
{
	local $ENV{JACKSYNC_QUIET} = 1;
	$run = $sync->();
}
is($run->{success}, 'f', 'a page that is too big is an error');
like($run->{error}, qr/422.*pageSize' must be between 1 and 4/, 'in the words of the PMS');
is($sql->("SELECT watermark FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'"), $watermark, 'the watermark stays');
$pms->config({ max_page_size => 200 });

# the token ends in the midst of a walk (17)
$pms->expire;
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/30', 'a token that ended is replaced');
$pms->faults({ kind => 'status', status => 401, match => { path => '/booking/', query => 'pageNumber=3' }, count => 1 });
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/30', 'also in the midst of a walk');
$pms->heal;

$recipe->run($node, 'Check');
is($sql->("SELECT count(*) FROM jacksync.status WHERE status = 'connected'"), 3, 'all streams are connected');

done_testing();
