# Apaleo as doc/pms/apaleo.md configures it, against a server that speaks its
# dialect.  Traps of real documents that are met here: 1 (one instant on a
# page border), 2 (no fractions in filters, seven digits in records), 5 (204 on
# the first and the last page), 9 (count is wrong), 13 (cancelled ones are
# asked for), 17 (the token ends), 18 (a page that is too big), 21 (absence),
# 22 (refusals, 204), 23 (our own push comes back), 30 (unknown
# members), 31 (the sign of a zone).
use strict;
use warnings FATAL => 'all';
use Encode;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Utils;
use Test::More;

# over TLS, with a certificate of our own
my $dir = PostgreSQL::Test::Utils::tempdir();
plan skip_all => 'no openssl to make a certificate with'
  if system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout $dir/key.pem -out $dir/ca.pem 2>$dir/openssl.log") != 0;
my $pms = JackSync::PMS->start(script => 'dialects/apaleo.py', reservations => 30, rooms => 12,
	tls_cert => "$dir/ca.pem", tls_key => "$dir/key.pem");
my $recipe = JackSync::Recipe->new('apaleo', 'https://api.apaleo.com' => $pms->url,
	'https://identity.apaleo.com' => $pms->url);
$recipe->secret(apaleo_client_id => 'ABCD-SP-JACK');
$recipe->secret(apaleo_client_secret => 'hotel-secret');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, $_[0] // 'reservations'); };

$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations', 'Guests', 'Additional guests', 'Rooms');

# a certificate that nobody vouches for is refused; then the hotel's own authority is named
{
	local $ENV{JACKSYNC_QUIET} = 1;
	like($sync->()->{error}, qr/certificate/i, 'a certificate that is not trusted is an error');
}
is(scalar @{ $pms->log }, 0, 'and nothing was sent');
$sql->("ALTER SERVER apaleo OPTIONS (ADD ca_file '$dir/ca.pem')");

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
$run = $sync->('companions');
is("$run->{success}/$run->{created}", 't/6', 'those who come along are there');
is($sql->("SELECT c.external_id FROM companions c JOIN reservations r ON r.external_id = c.reservation_id WHERE r.external_id = 'B0000005-1'"),
	encode('UTF-8', 'B0000005-1:' . $pms->record('reservations', 'B0000005-1')->{primaryGuest}{lastName} . '/Second'), 'with an id that is made of others');
$sync->('rooms');
is($sql->("SELECT count(*), count(*) FILTER (WHERE status = 'occupied'), count(*) FILTER (WHERE housekeeping = 'dirty') FROM rooms"), '12|4|6', 'rooms are there');

is(scalar(grep { $_->{path} eq '/connect/token' } @{ $pms->log }), 1, 'one token was enough');

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

# a comment is a patch of one path; 204 says nothing, and the echo is nobody's change (22, 23)
my $calls = sub { my ($method, $path) = @_; return grep { $_->{method} eq $method && $_->{path} =~ $path } @{ $pms->log }; };
my $last = sub { my $call = ($calls->(@_))[-1]; return JSON::PP->new->allow_nonref->decode($call->{body} || "null"); };
$sql->("UPDATE reservations SET special_requests = concat_ws(E'\\n', special_requests, 'quiet room') WHERE external_id IN ('B0000005-1', 'B0000006-1')");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/2', 'comments are pushed');
is_deeply([ map { JSON::PP->new->decode($_->{body}) } $calls->(PATCH => qr/./) ],
	[ [ { op => 'add', path => '/comment', value => 'quiet room' } ], [ { op => 'replace', path => '/comment', value => "late arrival\nquiet room" } ] ],
	'as patches of one path');
like(($calls->(PATCH => qr/./))[-1]{headers}{'Content-Type'}, qr/json/, 'with their type');
$run = $sync->();
is("$run->{updated}/$run->{pushed}/$run->{conflicts}", '0/0/0', 'the echo is nobody\'s change');
is($sql->("SELECT sync_status FROM jacksync.record WHERE entity = 'reservations' AND external_id = 'B0000006-1'"), 'synced', 'the record is synced');
$sql->("UPDATE reservations SET special_requests = 'late arrival' WHERE external_id = 'B0000006-1'");
$sync->();
is($sql->("SELECT special_requests FROM reservations WHERE external_id = 'B0000006-1'"), "late arrival\nquiet room", 'what was only removed here comes back: that is merge');

# both sides at once: merged
$pms->edit('reservations', 'B0000012-1', { comment => "late arrival\nfrom the PMS" });
$sql->("UPDATE reservations SET special_requests = special_requests || E'\\nfrom here' WHERE external_id = 'B0000012-1'");
$run = $sync->();
is("$run->{success}/$run->{conflicts}", 't/1', 'both sides changed one comment');
is($pms->record('reservations', 'B0000012-1')->{comment}, "late arrival\nfrom here\nfrom the PMS", 'which has both now');

# states and rooms are actions
$sql->("UPDATE reservations SET unit_id = 'MUC-U012' WHERE external_id = 'B0000007-1'; UPDATE reservations SET status = 'cancelled' WHERE external_id = 'B0000008-1'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/2', 'actions are pushed');
is(join(' ', sort map { $_->{path} =~ s/.*reservation-actions//r } $calls->(PUT => qr/./)), '/B0000007-1/assign-unit/MUC-U012 /B0000008-1/cancel', 'to their addresses');
$run = $sync->();
is($sql->("SELECT room_number, status FROM reservations WHERE external_id IN ('B0000007-1', 'B0000008-1') ORDER BY external_id"), "A.112|confirmed\n|cancelled", 'what follows from them came back');

# the PMS says no: its words, and not again (22)
{
	local $ENV{JACKSYNC_QUIET} = 1;
	$sql->("UPDATE reservations SET status = 'checked_in' WHERE external_id = 'B0000010-1'");
	$run = $sync->();
}
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = 'B0000010-1'"), qr/^dead\|.*422.*A unit must be assigned/, 'a refusal is told in its words');
$sync->();
is(scalar $calls->(PUT => qr/B0000010-1/), 1, 'and not tried again');

# a booking that is made here, once, though its answer is lost
$sql->("INSERT INTO reservations (guest_name, check_in_date, check_out_date, adults, status, time_slices)
	VALUES ('Walker', '2027-02-01', '2027-02-02', 1, 'confirmed', '[{\"ratePlanId\": \"MUC-FLEX-DBL\"}]')");
$pms->faults({ kind => 'drop_after_apply', match => { path => '/bookings' }, count => 1 });
{
	local $ENV{JACKSYNC_QUIET} = 1;
	$sync->();
}
$pms->heal;
$run = $sync->();
is("$run->{success}/" . $sql->("SELECT external_id, status, rate_code FROM reservations WHERE guest_name = 'Walker'"), 't/N0000001-1|confirmed|FLEX', 'a booking is made');
my @bookings = $calls->(POST => qr/bookings/);
my %keys = map { $_->{headers}{'Idempotency-Key'} => 1 } @bookings;
is(scalar(keys %keys) . ' ' . scalar(grep { /^N/ } @{ $pms->ids('reservations') }), '1 1', 'once, with one key');
is_deeply(JSON::PP->new->decode($bookings[-1]{body}), { booker => { lastName => 'Walker' }, reservations => [ {
	arrival => '2027-02-01', departure => '2027-02-02', adults => 1, primaryGuest => { lastName => 'Walker' },
	timeSlices => [ { ratePlanId => 'MUC-FLEX-DBL' } ], guaranteeType => 'PM6Hold', channelCode => 'Direct' } ] }, 'as Apaleo wants it');
$run = $sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE last_name = 'Walker'"), 1, 'its guest comes with the next poll');

# a guest is replaced as a whole, and keeps what we do not know
$sql->("UPDATE guests SET phone = '+49 1' WHERE external_id = 'B0000009-1'");
$pms->quiet('reservations', 'B0000009-1', { primaryGuest => { birthPlace => 'Ulm' } });
$run = $sync->('guests');
is("$run->{success}/$run->{pushed}", 't/1', 'a guest is pushed');
$guest = $last->(PATCH => qr/B0000009-1/)->[0];
is("$guest->{op} $guest->{path} $guest->{value}{phone} $guest->{value}{birthPlace} $guest->{value}{address}{countryCode}", 'replace /primaryGuest +49 1 Ulm DE', 'as a whole');
$run = $sync->('guests');
is("$run->{updated}/$run->{pushed}/$run->{conflicts}", '0/0/0', 'the echo is nobody\'s change');

# members that nobody knows (30)
$pms->edit('reservations', 'B0000013-1', { marketSegment => { code => 'LEI' }, hasCityTax => JSON::PP::true });
$run = $sync->();
is("$run->{success}/$run->{updated}/$run->{conflicts}", 't/0/0', 'a member that is not mapped is no change');

# a zone in the filter is encoded (31)
$sql->("UPDATE jacksync.stream SET datetime_format = 'iso_offset', datetime_zone = 'Europe/Berlin', granularity = '1 second' WHERE entity = 'reservations'");
$run = $sync->();
is($run->{success}, 't', 'a time with its zone is taken');
like((grep { defined $_->{query}{from} } @{ $pms->log })[-1]{query}{from}, qr/\+0[01]:00$/, 'and was sent with it');

# the count is wrong (9)
$pms->config({ count => 0 });
$sql->("UPDATE jacksync.stream SET lookback_window = '30 days' WHERE entity = 'reservations'");
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/31', 'a count of nothing ends no walk');

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

# a unit that is not there any more (21): rooms are all read, so that its absence says something
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'rooms'");
$pms->delete('units', 'MUC-U011');
$run = $sync->('rooms');
is("$run->{success}/" . $sql->("SELECT count(*) FROM rooms"), 't/11', 'a unit that is gone is deleted here, by policy');
# but a list that is not whole deletes nothing
$pms->faults({ kind => 'status', status => 204, match => { path => '/units' }, count => 1 });
$run = $sync->('rooms');
is($sql->("SELECT count(*) FROM rooms"), 11, 'and a list without units deletes none');
$pms->heal;

# the token ends in the midst of a walk (17)
$pms->expire;
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/31', 'a token that ended is replaced');
$pms->faults({ kind => 'status', status => 401, match => { path => '/booking/', query => 'pageNumber=3' }, count => 1 });
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/31', 'also in the midst of a walk');
$pms->heal;

$recipe->run($node, 'Check');
is($sql->("SELECT count(*) FROM jacksync.status WHERE status = 'connected'"), 4, 'all streams are connected');

done_testing();
