# OPERA Cloud as doc/pms/opera.md configures it, against a server that speaks
# its dialect.  Traps of real documents that are met here: 5 (204 and no body),
# 9 (totals), 14 (the id in a typed list; ids as text and number), 15 (lists,
# details and answers differ in shape), 16 (slow answers), 17 (a token by
# Basic, x-app-key with it), 19 (the queue is read once: duplicates, disorder,
# a failure between reading and applying), 21 (a detail that is gone), 22
# (refusals), 23 (our own push comes back), 32 (no time in the detail).
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

my $pms = JackSync::PMS->start(script => 'dialects/opera.py', reservations => 30, guests => 8, rooms => 12);
my $recipe = JackSync::Recipe->new('opera', 'https://ohip.example-hotels.com' => $pms->url);
$recipe->secret(opera_client_id => 'OPERA-CLIENT');
$recipe->secret(opera_client_secret => 'hotel-secret');
$recipe->secret(opera_app_key => 'APP-KEY');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, $_[0] // 'reservations'); };
my $failing = sub { local $ENV{JACKSYNC_QUIET} = 1; return $sync->(@_); };
my $calls = sub { my ($method, $path) = @_; return grep { $_->{method} eq $method && $_->{path} =~ $path } @{ $pms->log }; };
my $last = sub { return JSON::PP->new->decode(($calls->(@_))[-1]{body}); };
my $queue = sub { return scalar @{ $pms->control('GET', 'queue') }; };

$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations', 'Guests', 'Rooms');
$sql->("ALTER SERVER opera OPTIONS (SET rate_limit '1000/1s')");

# the first load: a list of summaries, then details (15)
$sql->("UPDATE jacksync.stream SET full_request = jsonb_set(full_request, '{paginator,page_size}', '7') WHERE full_request IS NOT NULL");
my $run = $sync->();
is("$run->{success}/$run->{created}", 't/30', 'every reservation is there');
is($sql->("SELECT guest_id, adults, room_type, rate_code, special_requests, status FROM reservations WHERE external_id = '571003'"),
	'687104|2|STDK|BAR|Comment 3|confirmed', 'with the values of its detail');
is($sql->("SELECT confirmation_number FROM reservations WHERE external_id = '571004'"), '813004', 'the ids are told apart (14)');
$run = $sync->('guests');
is("$run->{success}/$run->{created}", 't/8', 'profiles are there');
$run = $sync->('rooms');
is("$run->{success}/$run->{created}", 't/12', 'rooms are there');
ok(!(grep { ($_->{headers}{'x-hotelid'} // '') ne 'HOTEL1' || ($_->{headers}{'x-app-key'} // '') ne 'APP-KEY' } @{ $pms->log }), 'every request has its headers');

# an empty queue (5)
$pms->forget_log;
$run = $sync->();
is("$run->{success}/$run->{processed}", 't/0', 'an empty queue is no failure');
is(join(' ', map { $_->{path} } @{ $pms->log }), '/int/v1/externalSystem/JACK/hotels/HOTEL1/businessEvents', 'and one request');

# events, twice and in no order: one detail for each (14, 19)
$pms->config({ duplicates => JSON::PP::true });
$pms->edit('reservations', '571001', { roomStay => { currentRoomInfo => { roomId => '112' } } });
$pms->edit('reservations', '571002', { reservationStatus => 'InHouse' });
$pms->edit('reservations', '571001', { roomStay => { currentRoomInfo => { roomId => '111' } } });
$pms->config({ duplicates => JSON::PP::false });
$pms->edit('profiles', '687101', { profile => { telephones => { telephoneInfo => [ { telephone => { phoneNumber => '+43 2' } } ] } } });
$run = $sync->();
is("$run->{success}/$run->{updated}", 't/2', 'two changes arrive');
is($queue->(), 0, 'the queue is empty');
is($sql->("SELECT room_number, status FROM reservations WHERE external_id IN ('571001', '571002') ORDER BY external_id"), "111|confirmed\n103|checked_in", 'with their values');
is(scalar $calls->(GET => qr{reservations/571001$}), 1, 'a reservation that is named four times is read once');
$run = $sync->('guests');
is("$run->{success}/$run->{updated}", 't/1', 'the event of a profile was not lost, though the other entity read the queue');
is($sql->("SELECT phone FROM guests WHERE external_id = '687101'"), '+43 2', 'with its value');

# more events than an answer holds
$pms->edit('reservations', 571000 + $_, { roomStay => { guarantee => { guaranteeCode => "G$_" }, total => { amountBeforeTax => 1000 + $_ } } }) for 3 .. 28;
$run = $sync->();
is("$run->{success}/$run->{updated}/" . $queue->(), 't/26/0', 'all of a long queue is read');

# what was read from the queue is there no more: it must survive a failure (19)
$pms->edit('reservations', '571005', { roomStay => { total => { amountBeforeTax => 77 } } });
$pms->faults({ kind => 'status', status => 503, match => { path => '/rsv/' } });
$run = $failing->();
is($run->{success}, 'f', 'a failure between the queue and the detail');
is($queue->(), 0, 'after the queue was read');
$pms->heal;
$run = $sync->();
is("$run->{success}/" . $sql->("SELECT total_amount FROM reservations WHERE external_id = '571005'"), 't/77.00', 'loses nothing');

# a detail that is gone (21)
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'reservations'");
$pms->delete('reservations', '571030');
$run = $sync->();
is("$run->{success}/" . $sql->("SELECT count(*) FROM reservations WHERE external_id = '571030'"), 't/0', 'a reservation that is gone is deleted here, by policy');

# an event that never came: found by the comparison, which reads the list
$pms->config({ events => JSON::PP::false });
$pms->edit('reservations', '571010', { roomStay => { total => { amountBeforeTax => 99 } } });
$pms->config({ events => JSON::PP::true });
$run = $sync->();
is($run->{updated}, 0, 'a change without an event is not told of');
is($sql->("SELECT external_id, field, pms_value FROM jacksync.reconcile('reservations', repair => true)"), '571010|totalAmount|99', 'but the comparison finds it');
is($sql->("SELECT total_amount FROM reservations WHERE external_id = '571010'"), '99.00', 'and mends it');

# a stay is changed here: the whole object goes (15, 23)
$pms->quiet('reservations', '571006', { preRegistered => JSON::PP::true });
$sql->("UPDATE reservations SET check_out_date = check_out_date + 1, special_requests = special_requests || E'\\ncot' WHERE external_id = '571006'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/1', 'a change of ours is pushed');
my $sent = $last->(PUT => qr{reservations/571006})->{reservations}[0];
is($sent->{roomStay}{departureDate}, $sql->("SELECT check_out_date FROM reservations WHERE external_id = '571006'"), 'with our value');
is("$sent->{comments}[0]{comment}{text}{value}/$sent->{comments}[0]{comment}{type}", "Comment 6\ncot/RESERVATION", 'in the place of the old one');
ok($sent->{preRegistered}, 'and all that the PMS has');
$run = $sync->();
is("$run->{success}/$run->{updated}/$run->{pushed}/$run->{conflicts}", 't/0/0/0', 'the event of it is nobody\'s change');
is($sql->("SELECT sync_status FROM jacksync.record WHERE entity = 'reservations' AND external_id = '571006'"), 'synced', 'the record is synced');

# both sides at once
$pms->edit('reservations', '571007', { comments => [ { comment => { text => { value => "Comment 7\nfrom the PMS" }, type => 'RESERVATION' }, id => '113807', type => 'Comment' } ] });
$sql->("UPDATE reservations SET special_requests = special_requests || E'\\nfrom here' WHERE external_id = '571007'");
$run = $sync->();
is("$run->{success}/$run->{conflicts}", 't/1', 'both sides changed one comment');
is($pms->record('reservations', '571007')->{comments}[0]{comment}{text}{value}, "Comment 7\nfrom here\nfrom the PMS", 'which has both now');

# a cancellation is a request of its own
$sql->("UPDATE reservations SET status = 'cancelled' WHERE external_id = '571008'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/1', 'a cancellation is pushed');
is_deeply($last->(POST => qr{571008/cancellations}), {
	reason => { code => 'OTHER', description => 'Cancelled by the hotel' },
	reservations => [ { reservationIdList => [ { id => '571008', type => 'Reservation' } ], hotelId => 'HOTEL1' } ] }, 'as OPERA wants it');
is($pms->record('reservations', '571008')->{reservationStatus}, 'Cancelled', 'and was carried out');

# the PMS says no (22)
$pms->quiet('reservations', '571009', { reservationStatus => 'InHouse' });
$sql->("UPDATE jacksync.authority SET strategy = 'local_wins', push = true WHERE entity = 'reservations' AND field = 'status'; UPDATE reservations SET status = 'cancelled' WHERE external_id = '571009'");
$run = $sync->();
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = '571009'"), qr/^dead\|.*403.*cannot be cancelled/, 'a refusal is told in its words');
$sync->();
is(scalar $calls->(POST => qr{571009/cancellations}), 1, 'and not tried again');

# a guest, and a room
$sql->("UPDATE guests SET email = 'new\@example.com' WHERE external_id = '687102'; UPDATE rooms SET housekeeping = 'inspected' WHERE external_id = '101'");
$run = $sync->('guests');
is("$run->{success}/$run->{pushed}", 't/1', 'a guest is pushed');
$sent = $last->(PUT => qr{profiles/687102});
is("$sent->{profileIdList}[0]{id} $sent->{profileDetails}{emails}{emailInfo}[0]{email}{emailAddress} $sent->{profileDetails}{emails}{emailInfo}[0]{email}{type} $sent->{profileDetails}{statusCode}",
	'687102 new@example.com EMAIL ACTIVE', 'as a whole');
$run = $sync->('rooms');
is("$run->{success}/$run->{pushed}", 't/1', 'the state of a room is pushed');
is_deeply($last->(PUT => qr{rooms/status}), { roomList => [ { roomId => '101' } ], housekeepingRoomStatus => 'Inspected' }, 'in the words of the PMS');
$run = $sync->('rooms');
is("$run->{success}/$run->{updated}/$run->{pushed}", 't/0/0', 'and its echo is nobody\'s change');

# slow, not angry (16)
$pms->faults({ kind => 'slow', seconds => 1.2, match => { path => 'businessEvents' }, count => 1 });
$run = $sync->();
is($run->{success}, 't', 'a second more is no failure');

$recipe->run($node, 'Check');
is($sql->("SELECT count(*) FROM jacksync.status WHERE status = 'connected'"), 3, 'all streams are connected');

done_testing();
