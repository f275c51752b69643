# The servers that stand for real PMSs refuse what those refuse: a recipe that
# passes against them says something.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use HTTP::Tiny;
use JSON::PP;
use JackSync::PMS;
use MIME::Base64;
use Test::More;

my $http = HTTP::Tiny->new(timeout => 20);
my $json = JSON::PP->new->utf8->canonical;
my ($pms, %headers);

# ask(method, path, body or undef, header => value...): the answer
sub ask
{
	my ($method, $path, $body, %more) = @_;
	my %all = (%headers, %more);
	if (ref $body)
	{
		$body = $json->encode($body);
		$all{'Content-Type'} //= 'application/json';
	}
	elsif (defined $body)
	{
		$all{'Content-Type'} //= 'application/x-www-form-urlencoded';
	}
	return $http->request($method, $pms->url . $path, { headers => \%all, defined $body ? (content => $body) : () });
}

# says(what, status, pattern, request...): an answer has a status and words
sub says
{
	my ($what, $status, $pattern, @request) = @_;
	my $answer = ask(@request);
	ok($answer->{status} == $status && ($answer->{content} // '') =~ $pattern, $what)
	  or diag("$answer->{status} " . ($answer->{content} // ''));
	return $answer;
}

my $basic = sub { return 'Basic ' . encode_base64("$_[0]:$_[1]", ''); };
my $t = JSON::PP::true;

# Apaleo
$pms = JackSync::PMS->start(script => 'dialects/apaleo.py', reservations => 5);
my $list = '/booking/v1/reservations?dateFilter=Modification';
my $one = '/booking/v1/reservations/B0000001-1';
my $act = '/booking/v1/reservation-actions/B0000001-1';
says('apaleo: no token', 401, qr/^$/, GET => $one);
says('apaleo: a wrong secret', 400, qr/invalid_client/, POST => '/connect/token', 'grant_type=client_credentials', Authorization => $basic->('ABCD-SP-JACK', 'no'));
my $token = says('apaleo: a token', 200, qr/access_token/, POST => '/connect/token', 'grant_type=client_credentials', Authorization => $basic->('ABCD-SP-JACK', 'hotel-secret'));
%headers = (Authorization => 'Bearer ' . $json->decode($token->{content})->{access_token});
says('apaleo: fractions', 422, qr/"messages".*without fractional/, GET => "$list&from=2026-01-01T00:00:00.123Z");
says('apaleo: a sign of a zone that is a blank', 422, qr/without fractional/, GET => "$list&from=2026-01-01T00:00:00+01:00");
says('apaleo: no bound', 422, qr/needed/, GET => $list);
says('apaleo: a large page', 422, qr/between 1 and 200/, GET => "$list&from=2000-01-01T00:00:00Z&pageSize=201");
says('apaleo: nothing', 204, qr/^$/, GET => "$list&from=2099-01-01T00:00:00Z");
says('apaleo: past the end', 204, qr/^$/, GET => "$list&from=2000-01-01T00:00:00Z&pageNumber=2");
says('apaleo: seven digits', 200, qr/"modified": "[^"]*\.\d{7}\+01:00"/, GET => $one);
says('apaleo: a patch that is no list', 422, qr/list/, PATCH => $one, { comment => 'x' });
says('apaleo: a patch of another path', 422, qr{'replace' is not allowed for the path '/status'}, PATCH => $one, [ { op => 'replace', path => '/status', value => 'Canceled' } ]);
says('apaleo: a patch below the guest', 422, qr/not allowed/, PATCH => $one, [ { op => 'replace', path => '/primaryGuest/email', value => 'a@b.c' } ]);
says('apaleo: half a guest', 422, qr/lastName/, PATCH => $one, [ { op => 'replace', path => '/primaryGuest', value => { email => 'a@b.c' } } ]);
says('apaleo: a patch as text', 415, qr/^$/, PATCH => $one, [], 'Content-Type' => 'text/plain');
says('apaleo: a patch', 204, qr/^$/, PATCH => $one, [ { op => 'add', path => '/comment', value => 'x' } ]);
says('apaleo: an amendment without its nights', 422, qr/timeSlices/, PUT => "$act/amend", { arrival => '2027-01-01', departure => '2027-01-02', adults => 1 });
says('apaleo: a unit that is not', 422, qr/does not exist/, PUT => "$act/assign-unit/NO");
says('apaleo: a cancellation', 204, qr/^$/, PUT => "$act/cancel");
says('apaleo: and another', 422, qr/is Canceled, it must be Confirmed/, PUT => "$act/cancel");
my $booking = { booker => {}, reservations => [ { arrival => '2027-01-01', departure => '2027-01-02', adults => 1, guaranteeType => 'PM6Hold', timeSlices => [ { ratePlanId => 'MUC-FLEX' } ] } ] };
my $made = says('apaleo: a booking', 201, qr/reservationIds/, POST => '/booking/v1/bookings', $booking, 'Idempotency-Key' => 'k1');
is(ask(POST => '/booking/v1/bookings', $booking, 'Idempotency-Key' => 'k1')->{content}, $made->{content}, 'apaleo: the same key is the same booking');
$pms->stop;

# Cloudbeds
$pms = JackSync::PMS->start(script => 'dialects/cloudbeds.py', reservations => 3);
%headers = ();
my $v = '/api/v1.3';
says('cloudbeds: no key', 401, qr/false/, GET => "$v/getReservations");
%headers = ('x-api-key' => 'cbat_sample');
says('cloudbeds: a T in a time', 200, qr/"success": false.*modifiedFrom/, GET => "$v/getReservations?modifiedFrom=2026-01-01T00:00:00");
says('cloudbeds: a large page', 200, qr/"success": false.*pageSize/, GET => "$v/getReservations?pageSize=101");
says('cloudbeds: nothing in a map', 200, qr/"data": \[\]/, GET => "$v/getGuestList?resultsFrom=2099-01-01%2000:00:00");
says('cloudbeds: a map', 200, qr/"data": \{"1631/, GET => "$v/getGuestList?resultsFrom=2000-01-01%2000:00:00");
says('cloudbeds: guests without a window are those of today', 200, qr/"data": \[\]/, GET => "$v/getGuestsModified");
says('cloudbeds: no such reservation', 200, qr/"success": false.*not found/, GET => "$v/getReservation?reservationID=1");
says('cloudbeds: JSON for a form', 200, qr/"success": false.*form-urlencoded/, PUT => "$v/putReservation", { reservationID => '8176000000001' });
says('cloudbeds: a wrong status', 200, qr/"success": false.*status/, PUT => "$v/putReservation", 'reservationID=8176000000001&status=cancelled');
says('cloudbeds: half a document', 200, qr/"success": false.*required/, PUT => "$v/putGuest", 'guestID=163100001&guestDocumentType=passport');
says('cloudbeds: a status', 200, qr/"success": true/, PUT => "$v/putReservation", 'reservationID=8176000000001&status=canceled');
is(scalar @{ $pms->mails }, 1, 'cloudbeds: which is mailed to the guest, if nobody says no');
$pms->config({ rate => [ 2, 5, undef ] });
ask(GET => "$v/getRooms") for 1 .. 2;
says('cloudbeds: too many requests', 429, qr/false/, GET => "$v/getRooms");
$pms->stop;

# Mews
$pms = JackSync::PMS->start(script => 'dialects/mews.py', reservations => 12, guests => 3);
%headers = ();
my $c = '/api/connector/v1';
my %who = (ClientToken => 'CLIENT-TOKEN', AccessToken => 'ACCESS-TOKEN', Client => 'jacksync');
my $window = { StartUtc => '2026-01-01T00:00:00Z', EndUtc => '2026-03-01T00:00:00Z' };
my $get = "$c/reservations/getAll/2023-06-06";
says('mews: GET', 404, qr/Message/, GET => $get);
says('mews: a slash at the end', 404, qr/Message/, POST => "$get/", {%who});
says('mews: no tokens', 401, qr/AccessToken/, POST => $get, { Client => 'x', Limitation => { Count => 1 } });
says('mews: no limit', 400, qr/Limitation/, POST => $get, {%who});
says('mews: a large page', 400, qr/Limitation.Count/, POST => $get, { %who, Limitation => { Count => 1001 } });
says('mews: a cursor that is empty', 400, qr/Cursor/, POST => $get, { %who, Limitation => { Count => 10, Cursor => '' } });
says('mews: one bound', 400, qr/EndUtc/, POST => $get, { %who, UpdatedUtc => { StartUtc => '2026-01-01T00:00:00Z' }, Limitation => { Count => 1 } });
says('mews: a long window', 400, qr/3 months/, POST => $get, { %who, UpdatedUtc => { %$window, EndUtc => '2026-06-01T00:00:00Z' }, Limitation => { Count => 1 } });
says('mews: customers without extent', 400, qr/Extent/, POST => "$c/customers/getAll", { %who, UpdatedUtc => $window, Limitation => { Count => 1 } });
says('mews: customers without a filter', 400, qr/filter/, POST => "$c/customers/getAll", { %who, Extent => { Customers => $t }, Limitation => { Count => 1 } });
my $page = $json->decode(says('mews: a page', 200, qr/Cursor/, POST => $get, { %who, Limitation => { Count => 5 } })->{content});
my @times = map { $_->{UpdatedUtc} } @{ $page->{Reservations} };
is("@times", join(' ', reverse sort @times), 'mews: the newest is first');
my $id = $page->{Reservations}[0]{Id};
$page = $json->decode(says('mews: equal bounds are equality', 200, qr/Reservations/, POST => $get, { %who, UpdatedUtc => { StartUtc => $times[0], EndUtc => $times[0] }, Limitation => { Count => 5 } })->{content});
ok(@{ $page->{Reservations} } >= 1, 'mews: and not nothing');
says('mews: a value that is not wrapped', 400, qr/Invalid EndUtc/, POST => "$c/reservations/update", { %who, Reprice => JSON::PP::false, ReservationUpdates => [ { ReservationId => $id, EndUtc => '2027-03-01T00:00:00Z' } ] });
says('mews: the answer has another shape', 200, qr/CustomerId/, POST => "$c/reservations/update", { %who, Reprice => JSON::PP::false, ReservationUpdates => [ { ReservationId => $id, EndUtc => { Value => '2027-03-01T00:00:00Z' } } ] });
says('mews: the state is no field', 400, qr/Invalid State/, POST => "$c/reservations/update", { %who, Reprice => JSON::PP::false, ReservationUpdates => [ { ReservationId => $id, State => { Value => 'Canceled' } } ] });
says('mews: no notes', 400, qr/Notes/, POST => "$c/reservations/cancel", { %who, ReservationIds => [$id] });
says('mews: a cancellation', 200, qr/ReservationIds/, POST => "$c/reservations/cancel", { %who, ReservationIds => [$id], Notes => 'x' });
is(scalar @{ $pms->mails }, 1, 'mews: which is mailed to the guest, if nobody says no');
says('mews: a rule of the hotel', 403, qr/is Canceled/, POST => "$c/reservations/cancel", { %who, ReservationIds => [$id], Notes => 'x' });
$pms->config({ rate => [ 2, 5, 3 ] });
ask(POST => $get, {%who}) for 1 .. 2;
is(says('mews: too many requests', 429, qr/Message/, POST => $get, {%who})->{headers}{'retry-after'}, 3, 'mews: which says how long to wait');
$pms->stop;

# OPERA
$pms = JackSync::PMS->start(script => 'dialects/opera.py', reservations => 3, guests => 2);
%headers = ('x-app-key' => 'APP-KEY');
my $scope = 'grant_type=client_credentials&scope=urn:opc:hgbu:ws:__myscopes__';
my $hotel = '/rsv/v1/hotels/HOTEL1/reservations';
my $queue = '/int/v1/externalSystem/JACK/hotels/HOTEL1/businessEvents';
my $client = $basic->('OPERA-CLIENT', 'hotel-secret');
says('opera: a token without x-app-key', 401, qr/x-app-key/, POST => '/oauth/v1/tokens', $scope, Authorization => $client, 'x-app-key' => 'no');
says('opera: without a scope', 400, qr/invalid_scope/, POST => '/oauth/v1/tokens', 'grant_type=client_credentials', Authorization => $client);
$token = says('opera: a token', 200, qr/access_token/, POST => '/oauth/v1/tokens', $scope, Authorization => $client);
$headers{Authorization} = 'Bearer ' . $json->decode($token->{content})->{access_token};
says('opera: no x-hotelid', 400, qr/"o:errorPath": "x-hotelid"/, GET => $hotel);
$headers{'x-hotelid'} = 'HOTEL1';
says('opera: another hotel', 403, qr/status/, GET => $hotel =~ s/HOTEL1/HOTEL2/r);
says('opera: more events than it gives', 400, qr/limit/, GET => "$queue?limit=21");
says('opera: no events', 204, qr/^$/, GET => "$queue?limit=20");
$pms->edit('reservations', '571001', { preRegistered => $t });
$pms->edit('reservations', '571002', { preRegistered => $t });
says('opera: events, ids as text and number', 200, qr/"primaryKey": 571002.*"primaryKey": "571001"/, GET => "$queue?limit=20");
says('opera: which reading takes away', 204, qr/^$/, GET => "$queue?limit=20");
says('opera: a list has another shape', 200, qr/reservationInfo.*"hasMore": true/, GET => "$hotel?limit=1");
says('opera: than a detail', 200, qr/"reservation": \[.*"type": "Confirmation"/, GET => "$hotel/571001");
says('opera: nobody', 404, qr/not found/, GET => "$hotel/1");
my $whole = $json->decode(ask(GET => "$hotel/571001")->{content})->{reservations}{reservation}[0];
says('opera: half an object', 400, qr/missing/, PUT => "$hotel/571001", { reservations => [ { roomStay => $whole->{roomStay} } ] });
says('opera: the status is no field', 400, qr/status/, PUT => "$hotel/571001", { reservations => [ { %$whole, reservationStatus => 'Cancelled' } ] });
says('opera: a whole object', 200, qr/links/, PUT => "$hotel/571001", { reservations => [$whole] });
my $which = [ { reservationIdList => [ { id => '571001', type => 'Reservation' } ], hotelId => 'HOTEL1' } ];
says('opera: no reason', 400, qr/reason/, POST => "$hotel/571001/cancellations", { reservations => $which });
says('opera: a cancellation', 201, qr/CXL571001/, POST => "$hotel/571001/cancellations", { reason => { code => 'OTHER' }, reservations => $which });
says('opera: and another', 403, qr/cannot be cancelled/, POST => "$hotel/571001/cancellations", { reason => { code => 'OTHER' }, reservations => $which });
says('opera: half a profile', 400, qr/missing/, PUT => '/crm/v1/profiles/687101', { profileIdList => [ { id => '687101', type => 'Profile' } ], profileDetails => { customer => {} } });
says('opera: the status of a room', 200, qr/links/, PUT => '/hsk/v1/hotels/HOTEL1/rooms/status', { roomList => [ { roomId => '101' } ], housekeepingRoomStatus => 'Dirty' });
$pms->stop;

done_testing();
