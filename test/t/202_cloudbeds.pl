# Cloudbeds as doc/pms/cloudbeds.md configures it, against a server that speaks
# its dialect.  Traps of real documents that are met here: 1 (one instant on a
# page border), 6 (200 with success false), 7 (no record path is no empty
# list), 10 (an object keyed by
# id, empty as a list), 11 (numbers as texts, "" for nothing), 12 (naive
# times), 16 (429),
# 15
# (the answer of a write is no record), 20 (a guest is merged into another),
# 22 (refusals), 23 (our own push comes back), 27 (no mail to the guest).
use strict;
use warnings FATAL => 'all';
use Encode;
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(script => 'dialects/cloudbeds.py', reservations => 30, rooms => 12);
my $recipe = JackSync::Recipe->new('cloudbeds', 'https://api.cloudbeds.com' => $pms->url);
$recipe->secret(cloudbeds_api_key => 'cbat_sample');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, $_[0] // 'reservations'); };
my $failing = sub { local $ENV{JACKSYNC_QUIET} = 1; return $sync->(@_); };

$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations', 'Guests', 'Rooms');

# pages that cut through one instant: nothing is lost (1), texts become numbers (11); and the limit is kept (16)
$pms->config({ rate => [ 5, 1, undef ] });
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 5}'");
my $run = $sync->();
is("$run->{success}/$run->{created}", 't/30', 'every reservation is there');
is(scalar(grep { $_->{status} == 429 } @{ $pms->log }), 0, 'at a pace that the PMS allows');
# the server is on this machine: there is nothing to be polite to any more
$pms->config({ rate => undef });
$sql->("ALTER SERVER cloudbeds OPTIONS (SET rate_limit '1000/1s')");
is($sql->("SELECT adults, children, status FROM reservations WHERE external_id IN ('8176000000001', '8176000000009') ORDER BY external_id"),
	"2|0|confirmed\n2|0|cancelled", 'with its values');
$run = $sync->('guests');
is("$run->{success}/$run->{created}", 't/30', 'guests are there');
is($sql->("SELECT email IS NULL, birth_date IS NULL, phone IS NULL, name FROM guests WHERE external_id = '163100004'"),
	encode('UTF-8', 't|t|t|' . join(' ', @{ $pms->record('guests', '163100004') }{qw(guestFirstName guestLastName)})), 'and what is blank is NULL');
$run = $sync->('rooms');
is("$run->{success}/$run->{created}", 't/12', 'rooms are there, from one level down');
is($sql->("SELECT count(*) FROM rooms WHERE property_id = '310000'"), 12, 'with what is said above them');
$run = $sync->('rooms');
is("$run->{success}/$run->{unchanged}/$run->{updated}", 't/12/0', 'and none is changed');

# naive times are those of the property (12): what was seen last, and where the next poll begins
my $newest = (sort map { $pms->record('reservations', $_)->{dateModified} } @{ $pms->ids('reservations') })[-1];
is($sql->("SELECT (watermark AT TIME ZONE 'America/New_York')::timestamp(0) FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'reservations'"),
	$newest, 'a naive time is in the zone of the property');
$pms->forget_log;
$sync->();
is($pms->log->[0]{query}{modifiedFrom}, $sql->("SELECT to_char('$newest'::timestamp - interval '15 minutes', 'YYYY-MM-DD HH24:MI:SS')"), 'and so is the next poll, a little earlier');

# 200 is no success (6), and what is not there is no empty list (7)
$pms->edit('reservations', '8176000000001', { status => 'canceled' });
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 500}' WHERE entity = 'reservations'");
$run = $failing->();
is($run->{success}, 'f', 'success false is a failure');
like($run->{error}, qr/success.*Parameter pageSize is invalid/, 'in the words of the PMS');
$sql->("UPDATE jacksync.stream SET paginator = paginator || '{\"page_size\": 100}' WHERE entity = 'reservations'");
$pms->faults({ kind => 'status', status => 200, body => { success => JSON::PP::true }, match => { path => 'getReservations' }, count => 1 });
$run = $failing->();
is($run->{success}, 'f', 'an answer without records is a failure');
like($run->{error}, qr/nothing at \$/, 'which says where they should be');
$run = $sync->();
is("$run->{success}/$run->{updated}", 't/1', 'the change of the PMS was not lost');

# too many requests (16)
$pms->faults({ kind => 'status', status => 429, body => { success => JSON::PP::false }, headers => { 'Retry-After' => '1' }, match => { path => 'getReservations' }, count => 1 });
$run = $failing->();
like("$run->{success} $run->{error}", qr/^(t|f.*429)/, '429 is waited out, or said');
$run = $sync->();
is($run->{success}, 't', 'and is over');

# a change that moves no time: found by the comparison
$pms->quiet('reservations', '8176000000007', { balance => 1 });
$run = $sync->();
is($run->{updated}, 0, 'a change that moves no time is not told of');
is($sql->("SELECT external_id, field, pms_value, reason FROM jacksync.reconcile('reservations', repair => true)"), '8176000000007|balance|1|missed_at_pms', 'but found');
is($sql->("SELECT balance FROM reservations WHERE external_id = '8176000000007'"), '1.00', 'and mended');

# a state is a field of a form; no mail goes out (27), the answer has another shape (15), the echo is no change (23)
my $calls = sub { my ($method, $path) = @_; return grep { $_->{method} eq $method && $_->{path} =~ $path } @{ $pms->log }; };
$sql->("UPDATE reservations SET status = 'cancelled', arrival_time = '18:30' WHERE external_id = '8176000000005'");
$run = $sync->();
is("$run->{success}/$run->{pushed}", 't/1', 'a cancellation is pushed');
is(join('&', sort split /&/, ($calls->(PUT => qr/putReservation/))[-1]{body}), 'estimatedArrivalTime=18%3A30&propertyID=310000&reservationID=8176000000005&sendStatusChangeEmail=false&status=canceled', 'as a form');
is(scalar @{ $pms->mails }, 0, 'and nobody got a mail');
$run = $sync->();
is("$run->{updated}/$run->{pushed}/$run->{conflicts}", '0/0/0', 'its echo is nobody\'s change');
is(scalar $calls->(PUT => qr/putReservation/), 1, 'one request was enough');
is($sql->("SELECT status, arrival_time, adults FROM reservations WHERE external_id = '8176000000005'"), 'cancelled|18:30|2', 'the reservation is as it was, but for that');

# 200 with success false is a refusal (6, 22)
$pms->quiet('reservations', '8176000000006', { status => 'checked_out' });
$sql->("UPDATE jacksync.authority SET strategy = 'local_wins', push = true WHERE field = 'status'; UPDATE reservations SET status = 'confirmed' WHERE external_id = '8176000000006'; UPDATE reservations SET status = 'no_show' WHERE external_id = '8176000000006'");
$run = $sync->();
like($sql->("SELECT state, error FROM jacksync.sync_error WHERE external_id = '8176000000006'"), qr/^dead\|.*checked out/, 'a refusal is told in the words of the PMS');
$sync->();
is(scalar $calls->(PUT => qr/putReservation/), 2, 'and not tried again');

# a guest; a blank value is sent as one
$sql->("UPDATE guests SET email = NULL, phone = '+351 1' WHERE external_id = '163100005'");
$run = $sync->('guests');
is("$run->{success}/$run->{pushed}", 't/1', 'a guest is pushed');
is(join('&', sort split /&/, ($calls->(PUT => qr/putGuest/))[-1]{body}), 'guestEmail=&guestID=163100005&guestPhone=%2B351%201&propertyID=310000', 'as a form');

# an object keyed by id in place of a list, which is a list when it is empty (10)
$sql->("UPDATE jacksync.stream SET request = request || '{\"path\": \"/getGuestList\"}', record_path = '\$.data.*',
	fields = '{\"name\": \"\$.guestName\"}', lookback_window = '0', paginator = paginator || '{\"page_size\": 100}' WHERE entity = 'guests'");
$pms->forget_log;
$pms->edit('guests', '163100009', { guestLastName => 'Keyed' });
$run = $sync->('guests');
like($sql->("SELECT name FROM guests WHERE external_id = '163100009'"), qr/Keyed$/, 'an object that is keyed by id is a list');
$pms->faults({ kind => 'status', status => 200, body => { success => JSON::PP::true, data => [], count => 0, total => 0 }, match => { path => 'getGuestList' }, count => 1 });
$run = $sync->('guests');
is("$run->{success}/$run->{processed}", 't/0', 'and an empty list is an empty object');

# a stream that is made anew has its records still
$sql->("DELETE FROM jacksync.stream WHERE entity = 'guests'");
$recipe->run($node, 'Guests');
$run = $sync->('guests');
is("$run->{success}/$run->{created}/$run->{errors}", 't/0/0', 'a stream that is made anew has its records still');

# a guest is merged (20)
$pms->edit('guests', '163100002', { isMerged => JSON::PP::true, newGuestID => '163100003' });
$run = $sync->('guests');
is("$run->{success}/$run->{updated}", 't/1', 'a merge arrives');
is($sql->("SELECT merged_into FROM guests WHERE external_id = '163100002'"), '163100003', 'with its target');

$recipe->run($node, 'Check');
is($sql->("SELECT count(*) FROM jacksync.status WHERE status = 'connected'"), 3, 'all streams are connected');

done_testing();
