# Mews as doc/pms/mews.md configures it, against a server that speaks its
# dialect.  Traps of real documents that are met here: 1 (one instant on a page
# border, newest first, and a record that changes while it is paged), 3 (equal
# bounds mean equality), 4 (windows of three months at most), 8 (the same
# cursor for ever), 15 (an update answers with another shape), 16 (429 with
# Retry-After, 408), 20 (a guest is merged into another), 22 (a business
# rule is not tried again, a lost answer is looked up), 23 (our own push comes back), 24 (a field that
# cannot be cleared), 27 (no mail to the guest), 28 (an unknown state).
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

my $pms = JackSync::PMS->start(script => 'dialects/mews.py', reservations => 30, guests => 12, rooms => 12);
my $recipe = JackSync::Recipe->new('mews', 'https://api.mews.com' => $pms->url);
$recipe->secret(mews_client_token => 'CLIENT-TOKEN');
$recipe->secret(mews_access_token => 'ACCESS-TOKEN');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, $_[0] // 'reservations'); };
my $failing = sub { local $ENV{JACKSYNC_QUIET} = 1; return $sync->(@_); };
my $calls = sub { my ($path) = @_; return grep { $_->{path} =~ $path } @{ $pms->log }; };
my $json = JSON::PP->new->canonical;
my $last = sub { return $json->decode(($calls->($_[0]))[-1]{body}); };
my %who = (ClientToken => 'CLIENT-TOKEN', AccessToken => 'ACCESS-TOKEN', Client => 'jacksync 0.1.0');

# the server is on this machine: there is nothing to be polite to but once, below
$pms->config({ rate => undef });
$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations', 'Guests', 'Rooms');

# a year in windows (4), newest first in pages of five (1)
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 5}'");
my $run = $sync->();
is("$run->{success}/$run->{created}", 't/30', 'every reservation is there');
cmp_ok(scalar(map { $json->decode($_->{body})->{UpdatedUtc}{StartUtc} } $calls->(qr/reservations/)), '>=', 5, 'in several windows');
ok(!(grep { my $l = $json->decode($_->{body})->{Limitation}; exists $l->{Cursor} && !$l->{Cursor} } $calls->(qr/getAll/)), 'a cursor that is empty is left out');
is($sql->("SELECT count(*) FILTER (WHERE status = 'cancelled'), count(*) FILTER (WHERE adults = 2), count(*) FILTER (WHERE room_id IS NULL) FROM reservations"), '3|15|10', 'with their values');
$run = $sync->('guests');
is("$run->{success}/$run->{created}", 't/12', 'guests are there');
$run = $sync->('rooms');
is("$run->{success}/$run->{created}", 't/10', 'rooms are there, and no beds');
my ($first, $second, $third, $fourth) = map { $_->[0] } sort { $a->[1] <=> $b->[1] } map { [ $_, $pms->record('reservations', $_)->{Number} ] } @{ $pms->ids('reservations') };
is($sql->("SELECT check_in_date = (starts_at AT TIME ZONE 'Europe/Prague')::date FROM reservations WHERE external_id = '$first'"), 't', 'days are those of the hotel');
is($sql->("SELECT guest_name IS NOT NULL AND room_number IS NOT NULL FROM arrivals WHERE external_id = '$first'"), 't', 'and the view joins them');

# nothing new; and bounds are never equal (3)
$run = $sync->();
is("$run->{success}/$run->{created}/$run->{updated}", 't/0/0', 'a second sync changes nothing');
$sync->() for 1 .. 2;
ok(!(grep { my $w = $json->decode($_->{body})->{UpdatedUtc}; $w && $w->{StartUtc} eq $w->{EndUtc} } $calls->(qr/getAll/)), 'bounds are never equal');

# a change of the PMS
$pms->edit('reservations', $first, { State => 'Canceled' });
$run = $sync->();
is("$run->{success}/$run->{updated}", 't/1', 'a change arrives');
is($sql->("SELECT status FROM reservations WHERE external_id = '$first'"), 'cancelled', 'with its value');

# a stay is changed here: wrapped values in an array, and nothing else (15, 23)
$pms->forget_log;
$sql->("UPDATE reservations SET ends_at = ends_at + interval '1 day' WHERE external_id = '$second'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/1', 'a change of ours is pushed');
is_deeply($last->(qr{reservations/update}), { %who,
	ReservationUpdates => [ { ReservationId => $second, EndUtc => { Value => $pms->record('reservations', $second)->{ScheduledEndUtc} } } ],
	Reprice => JSON::PP::false, ApplyCancellationFee => JSON::PP::false, Reason => 'jacksync' }, 'as Mews wants it');
is($sql->("SELECT ends_at = '" . $pms->record('reservations', $second)->{ScheduledEndUtc} . "'::timestamptz FROM reservations WHERE external_id = '$second'"), 't', 'and arrived');
$run = $sync->();
is("$run->{updated}/$run->{pushed}/$run->{conflicts}", '0/0/0', 'its echo is nobody\'s change');
is(scalar $calls->(qr{reservations/update}), 1, 'one request was enough');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = '$second'"), 'synced', 'the record is synced');

# a state is an action, and no mail goes out (27)
$sql->("UPDATE reservations SET status = 'cancelled' WHERE external_id = '$second'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/1', 'a cancellation is pushed');
is_deeply($last->(qr{reservations/cancel}), { %who, ReservationIds => [$second], PostCancellationFee => JSON::PP::false,
	SendEmail => JSON::PP::false, Notes => 'Cancelled by the hotel' }, 'as an action');
is($pms->record('reservations', $second)->{State}, 'Canceled', 'which was carried out');
is(scalar @{ $pms->mails }, 0, 'and nobody got a mail');
$sql->("UPDATE reservations SET status = 'checked_in' WHERE external_id = '$fourth'");
$run = $sync->();
is($pms->record('reservations', $fourth)->{State}, 'Started', 'a check-in is pushed');

# a rule of the hotel (22): its words, and not again
$sql->("UPDATE reservations SET ends_at = ends_at + interval '1 day' WHERE external_id = '$second'");
$run = $sync->();
$sync->();
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = '$second'"), qr/^dead\|.*403.*cannot be updated/, 'a rule of the PMS is told in its words');
is(scalar $calls->(qr{reservations/update}), 2, 'and not tried again');

# both sides at once: the newer change wins, and is audited
$pms->edit('reservations', $third, { ScheduledEndUtc => '2027-05-01T10:00:00Z' });
sleep 2;
$sql->("UPDATE reservations SET ends_at = '2027-05-02 10:00+00' WHERE external_id = '$third'");
$run = $sync->();
is("$run->{success}/$run->{conflicts}", 't/1', 'both sides changed one stay');
is($pms->record('reservations', $third)->{ScheduledEndUtc}, '2027-05-02T10:00:00Z', 'the newer change is at the PMS');
is($sql->("SELECT field, conflict_details ->> 'resolution' FROM jacksync.audit_log WHERE external_id = '$third'"), 'endsAt|local', 'and audited');

# guests: plain fields, which cannot be cleared (24)
my ($guest, $other) = map { $_->[0] } sort { $a->[1] <=> $b->[1] } map { [ $_, $pms->record('customers', $_)->{Number} ] } @{ $pms->ids('customers') };
$sql->("UPDATE guests SET phone = '+420 1', notes = 'allergic to nuts' WHERE external_id = '$guest'");
$run = $sync->('guests');
is("$run->{success}/$run->{pushed}", 't/1', 'a guest is pushed');
is_deeply($last->(qr{customers/update}), { %who, CustomerId => $guest, Phone => '+420 1', Notes => 'allergic to nuts' }, 'with plain values');
$sql->("UPDATE guests SET phone = NULL WHERE external_id = '$guest'");
$run = $sync->('guests');
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = '$guest'"), qr/dead.*(null|clear)/i, 'what cannot be cleared is said');
is($pms->record('customers', $guest)->{Phone}, '+420 1', 'and stays at the PMS');

# merged, and deleted (20)
$pms->edit('customers', $guest, { IsActive => JSON::PP::false, ActivityState => 'Deleted', MergeTargetId => $other });
$run = $sync->('guests');
is($sql->("SELECT merged_into, active FROM guests WHERE external_id = '$guest'"), "$other|f", 'a merge arrives');
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'guests'");
$pms->edit('customers', $other, { IsActive => JSON::PP::false, ActivityState => 'Deleted' });
$run = $sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = '$other'"), 0, 'and a delete');

# the state of a room
my ($room) = split /\n/, $sql->("SELECT external_id FROM rooms ORDER BY number LIMIT 1");
$sql->("UPDATE rooms SET housekeeping = 'inspected' WHERE external_id = '$room'");
$run = $sync->('rooms');
is("$run->{success}/$run->{pushed}", 't/1', 'the state of a room is pushed');
is_deeply($last->(qr{resources/update}), { %who, ResourceUpdates => [ { ResourceId => $room, State => { Value => 'Inspected' } } ] }, 'in the words of the PMS');

# a state that nobody knew (28)
$pms->edit('resources', $room, { State => 'Haunted' });
$run = $sync->('rooms');
is("$run->{success}/" . $sql->("SELECT housekeeping FROM rooms WHERE external_id = '$room'"), 't/Haunted', 'an unknown state comes as it is');

# a record that moves to the first page when that was read (1)
my ($oldest) = map { $_->{Id} } sort { $a->{UpdatedUtc} cmp $b->{UpdatedUtc} } map { $pms->record('reservations', $_) } @{ $pms->ids('reservations') };
$sql->("UPDATE jacksync.stream SET lookback_window = '30 days' WHERE entity = 'reservations'");
$pms->config({ meanwhile => [ $oldest, { ChannelNumber => 'MOVED' } ] });
$run = $sync->();
isnt($sql->("SELECT channel_number FROM reservations WHERE external_id = '$oldest'"), 'MOVED', 'a record that moves while the list is read is missed');
$sql->("UPDATE jacksync.stream SET lookback_window = '0' WHERE entity = 'reservations'");
$run = $sync->();
is($sql->("SELECT channel_number FROM reservations WHERE external_id = '$oldest'"), 'MOVED', 'and found by the next poll, even without an overlap');
$sql->("UPDATE jacksync.stream SET lookback_window = DEFAULT WHERE entity = 'reservations'");

# a page that is too heavy (16)
$pms->forget_log;
$pms->faults({ kind => 'status', status => 408, body => { Message => 'too heavy' }, match => { path => 'reservations/getAll' }, count => 1 });
$run = $sync->();
cmp_ok($json->decode(($calls->(qr/reservations/))[1]{body})->{Limitation}{Count}, '<', 5, 'a page that is too heavy is made smaller');
is($run->{success}, 't', 'and the run goes on');

# the answer to a write is lost (22)
my ($fifth) = split /\n/, $sql->("SELECT external_id FROM reservations WHERE status = 'confirmed' AND external_id NOT IN ('$first', '$second', '$third', '$fourth', '$oldest') ORDER BY number LIMIT 1");
$sql->("UPDATE reservations SET ends_at = '2027-06-01 10:00+00' WHERE external_id = '$fifth'");
$pms->faults({ kind => 'drop_after_apply', match => { path => 'reservations/update' }, count => 1 });
$failing->();
$run = $sync->();
is("$run->{success}/" . $pms->record('reservations', $fifth)->{ScheduledEndUtc}, 't/2027-06-01T10:00:00Z', 'a write whose answer was lost');
is(scalar $calls->(qr{reservations/update}), 1, 'is looked up, and not sent again');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = '$fifth'"), 'synced', 'the record is synced');

# the same cursor for ever (8)
my $page = { Reservations => [ map { { Id => "loop-$_", UpdatedUtc => '2026-11-01T00:00:00Z' } } 1 .. 5 ], Cursor => 'again' };
$pms->faults({ kind => 'status', status => 200, body => $page, match => { path => 'reservations/getAll' } });
$run = $failing->();
is($run->{success}, 'f', 'a cursor that does not move is a failure');
like($run->{error}, qr/loop/, 'which says so');
$pms->heal;
$failing->();
$run = $sync->();
is($run->{success}, 't', 'a cursor that the PMS does not know any more is not asked for again');

# too many requests (16)
$pms->faults({ kind => 'status', status => 429, body => { Message => 'slow down' }, headers => { 'Retry-After' => '1' }, match => { path => 'reservations/getAll' }, count => 1 });
$run = $failing->();
like("$run->{success} $run->{error}", qr/^(t|f.*429)/, '429 is waited out, or told');
$pms->heal;
$run = $sync->();
is($run->{success}, 't', 'and is over');

$recipe->run($node, 'Check');
is($sql->("SELECT count(*) FROM jacksync.status WHERE status = 'connected'"), 3, 'all streams are connected');

done_testing();
