# What a push can say: styles of body, actions, NULLs, and what answers mean.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 20);
my $node = JackSync::Node::hotel('push', $pms);
my $json = JSON::PP->new->canonical;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('$_[0]')"); diag($err) if $status; return $out; };
my $push = sub {
	my ($entity, $operations) = @_;
	my $push = $json->encode({ read => { path => "/v1/$entity/{record.id}" }, %$operations });
	$push =~ s/'/''/g;
	$sql->("UPDATE jacksync.stream SET push = '$push' WHERE entity = '$entity'");
};
my $state = sub { return $sql->("SELECT sync_status FROM jacksync.record WHERE entity = '$_[0]' AND external_id = '$_[1]'"); };
# requests to a path since the last look
my $seen = 0;
my $news = sub {
	my ($pattern) = @_;
	my @log = @{ $pms->log };
	my @new = grep { $_->{method} ne 'GET' && $_->{path} =~ $pattern } @log[$seen .. $#log];
	$seen = @log;
	return @new;
};
my $id = sub { return sprintf '%s-%06d', @_ };

$sql->("ALTER TABLE reservations ADD property_name text, ADD property_code text");
$sql->("INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('reservations', 'propertyName', 'latest_wins'), ('reservations', 'propertyCode', 'latest_wins')");
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'guests' AND field IN ('name', 'email', 'phone')");
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'reservations' AND field IN ('status', 'roomNumber', 'rateCode')");
$sql->("UPDATE jacksync.stream SET fields = '{\"propertyName\": \"\$.property.name\", \"propertyCode\": \"\$.property.code\"}' WHERE entity = 'reservations'");
$sync->($_) for qw(guests reservations);

# JSON Patch: replace, remove, add
$push->('guests', { if_match => 'etag', update => { path => '/v1/guests/{record.id}', body_style => 'json_patch' } });
$sql->("UPDATE guests SET phone = '+34 1', email = NULL WHERE external_id = 'GST-000001'");
$news->(qr/./);
$sync->('guests');
my ($request) = $news->(qr/GST-000001/);
is($request->{headers}{'Content-Type'}, 'application/json-patch+json', 'JSON Patch has its media type');
is_deeply($json->decode($request->{body}), [ { op => 'remove', path => '/email' }, { op => 'replace', path => '/phone', value => '+34 1' } ], 'and its operations');
is($pms->record('guests', 'GST-000001')->{phone}, '+34 1', 'the PMS took them');
is($state->('guests', 'GST-000001'), 'synced', 'both sides agree');
$sql->("UPDATE guests SET email = 'new\@example.com' WHERE external_id = 'GST-000001'");
$sync->('guests');
($request) = $news->(qr/GST-000001/);
is_deeply($json->decode($request->{body}), [ { op => 'add', path => '/email', value => 'new@example.com' } ], 'what was not there is added');

# read-modify-write of the whole record
$push->('guests', { if_match => 'etag', update => { path => '/v1/guests/{record.id}', body_style => 'replace' } });
my $before = $pms->record('guests', 'GST-000002');
$sql->("UPDATE guests SET phone = '+34 2' WHERE external_id = 'GST-000002'");
$sync->('guests');
($request) = $news->(qr/GST-000002/);
is($request->{method}, 'PUT', 'a whole record is put');
is_deeply($json->decode($request->{body}), { %$before, phone => '+34 2' }, 'with all that the PMS had');
is($pms->record('guests', 'GST-000002')->{createdAt}, $before->{createdAt}, 'nothing of it is lost');

# the smallest object that can be replaced, by JSON Patch and by PUT
$push->('reservations', { if_match => 'etag', update => { path => '/v1/reservations/{record.id}', body_style => 'json_patch', replace_at => '$.property' } });
$sql->("UPDATE reservations SET property_name = 'Grand' WHERE external_id = 'RES-000001'");
$sync->('reservations');
($request) = $news->(qr/RES-000001/);
is_deeply($json->decode($request->{body}), [ { op => 'replace', path => '/property', value => { code => 'MUC', name => 'Grand' } } ],
	'a part is replaced as a whole');
$push->('reservations', { update => { path => '/v1/reservations/{record.id}/property', body_style => 'replace', replace_at => 'property' } });
$sql->("UPDATE reservations SET property_name = 'Palace' WHERE external_id = 'RES-000001'");
$sync->('reservations');
($request) = $news->(qr/RES-000001/);
is("$request->{method} $request->{path}", 'PUT /v1/reservations/RES-000001/property', 'or put to its own address');
is_deeply($pms->record('reservations', 'RES-000001')->{property}, { code => 'MUC', name => 'Palace' }, 'with what it had');
is($state->('reservations', 'RES-000001'), 'synced', 'and is in line');

# a merge patch goes to the paths of the fields
$push->('reservations', { update => { path => '/v1/reservations/{record.id}', constants => { changedBy => 'us' } } });
$sql->("UPDATE reservations SET property_name = 'Inn', rate_code = 'CORP' WHERE external_id = 'RES-000002'");
$pms->edit('reservations', 'RES-000002', { rateCode => 'BAR' }) if $pms->record('reservations', 'RES-000002')->{rateCode} eq 'CORP';
$sync->('reservations');
$sync->('reservations');
($request) = $news->(qr/RES-000002/);
is_deeply($json->decode($request->{body})->{property}, { name => 'Inn' }, 'a nested field is patched where it is read');
is($json->decode($request->{body})->{changedBy}, 'us', 'constants go along');

# forms
$push->('reservations', { update => { path => '/v1/reservations/{record.id}', body_style => 'form', success_path => '$.success == true',
	constants => { reservationID => '{record.id}', sendStatusChangeEmail => JSON::PP::false } } });
$pms->edit('reservations', 'RES-000003', { specialRequests => [] });
$sync->('reservations');
$sql->("UPDATE reservations SET special_requests = '{cot,\"a & b\"}' WHERE external_id = 'RES-000003'");
$news->(qr/./);
$sync->('reservations');
($request) = $news->(qr/RES-000003/);
is($request->{body}, 'reservationID=RES-000003&specialRequests%5B0%5D=cot&specialRequests%5B1%5D=a%20%26%20b&sendStatusChangeEmail=false', 'a form with an array');
is_deeply($pms->record('reservations', 'RES-000003')->{specialRequests}, [ 'cot', 'a & b' ], 'is understood');
$pms->config({ refuse => { rateCode => [ 200, { success => JSON::PP::false, message => "Rate\x{7}is closed \x{e9}" } ] } });
$sql->("UPDATE reservations SET rate_code = 'NOPE' WHERE external_id = 'RES-000003'");
$sync->('reservations');
like($sql->("SELECT state || ' ' || error FROM jacksync.sync_error WHERE external_id = 'RES-000003' AND direction = 'push' AND state = 'dead'"),
	qr/^dead .*HTTP 200.*is closed/, '200 with success:false is a refusal');
$pms->config({ refuse => {} });

# wrapped values
$pms->config({ wrapped => JSON::PP::true });
$push->('reservations', { update => { method => 'PATCH', path => '/v1/reservations/{record.id}', wrap => 'Value' } });
$sql->("UPDATE reservations SET room_number = '7b' WHERE external_id = 'RES-000004'");
$news->(qr/./);
$sync->('reservations');
($request) = $news->(qr/RES-000004/);
is($request->{body}, '{"roomNumber": {"Value": "7b"}}', 'a wrapped value');
$pms->config({ wrapped => JSON::PP::false });

# an action for a state change, and another operation for the rest
$push->('reservations', { if_match => 'etag', idempotency_header => 'Idempotency-Key', update => [
	{ method => 'PATCH', path => '/v1/reservations/{record.id}', fields => { roomNumber => 'roomNumber' } },
	{ method => 'POST', path => '/v1/reservations/{record.id}/cancel', when => { status => 'canceled' },
		constants => { reason => 'guest asked', sendEmail => JSON::PP::false } } ] });
$sql->("UPDATE reservations SET status = 'canceled', room_number = '8', rate_code = 'LOST' WHERE external_id = 'RES-000005'");
$sync->('reservations');
my @requests = $news->(qr/RES-000005/);
is(join(' ', map { "$_->{method} $_->{path}" } @requests), 'PATCH /v1/reservations/RES-000005 POST /v1/reservations/RES-000005/cancel', 'two operations, in their order');
my $record = $pms->record('reservations', 'RES-000005');
is("$record->{status} $record->{roomNumber} $record->{mailed}", 'canceled 8 0', 'the guest gets no mail by accident');
is($sql->("SELECT string_agg(operation || place || i.state, ' ' ORDER BY i.intent_id) FROM jacksync.intent i JOIN jacksync.link l USING (record_id) WHERE l.external_id = 'RES-000005'"), 'update0done update1done', 'an intent for each');
is($state->('reservations', 'RES-000005'), 'local_modified', 'a field that no operation carries waits');
$sql->("UPDATE reservations SET status = 'in house' WHERE external_id = 'RES-000006'");
$sync->('reservations');
is(scalar($news->(qr/RES-000006/)), 0, 'another status has no operation');

# NULLs: refused, left out
$push->('guests', { if_match => 'etag', update => { path => '/v1/guests/{record.id}', nulls => 'refuse' } });
$sql->("UPDATE guests SET phone = NULL, name = 'Zoe' WHERE external_id = 'GST-000003'");
$sync->('guests');
is($pms->record('guests', 'GST-000003')->{name}, 'Zoe', 'the other field goes on');
like($sql->("SELECT error FROM jacksync.sync_error WHERE external_id = 'GST-000003' AND state = 'dead'"), qr/cannot clear.*phone/, 'what cannot be cleared is reported');
is($state->('guests', 'GST-000003'), 'sync_error', 'and shown');
$news->(qr/./);
$sync->('guests');
is(scalar($news->(qr/GST-000003/)), 0, 'once');
$sql->("UPDATE guests SET phone = '+49 3' WHERE external_id = 'GST-000003'");
$sync->('guests');
is($pms->record('guests', 'GST-000003')->{phone} . $state->('guests', 'GST-000003'), '+49 3synced', 'a value that it can take mends it');
is($sql->("SELECT count(*) FROM jacksync.sync_error WHERE external_id = 'GST-000003' AND state = 'dead'"), 0, 'and the error is over');
$push->('guests', { if_match => 'etag', update => { path => '/v1/guests/{record.id}', nulls => 'omit' } });
$sql->("UPDATE guests SET phone = NULL, name = 'Yve' WHERE external_id = 'GST-000004'");
$sync->('guests');
($request) = $news->(qr/GST-000004/);
is($request->{body}, '{"name": "Yve"}', 'left out');
is($state->('guests', 'GST-000004'), 'local_modified', 'and waiting');

# one field of several is refused
$push->('guests', { if_match => 'etag', idempotency_header => 'Idempotency-Key', update => { path => '/v1/guests/{record.id}' } });
$pms->config({ refuse => { phone => [ 422, { messages => [ 'phone is no number' ] } ] } });
$sql->("UPDATE guests SET phone = 'x', name = 'Ann', email = 'ann\@example.com' WHERE external_id = 'GST-000005'");
$sql->("UPDATE guests SET name = 'Bea' WHERE external_id = 'GST-000006'");
my $run = $sync->('guests');
$record = $pms->record('guests', 'GST-000005');
is("$record->{name} $record->{email}", 'Ann ann@example.com', 'its other fields go on, one by one');
isnt($record->{phone}, 'x', 'the one that is refused does not');
is($pms->record('guests', 'GST-000006')->{name}, 'Bea', 'other records go on');
is($sql->("SELECT payload FROM jacksync.sync_error WHERE external_id = 'GST-000005' AND state = 'dead'"), '{"phone": "x"}', 'the dead letter has the field');
like($sql->("SELECT error FROM jacksync.sync_error WHERE external_id = 'GST-000005' AND state = 'dead'"), qr/HTTP 422.*phone is no number/, 'and the PMS\'s words');
$news->(qr/./);
$sync->('guests');
is(scalar($news->(qr/GST-000005/)), 0, 'it is not sent again by itself');
$pms->config({ refuse => {} });
$sql->("SELECT jacksync.requeue(error_id) FROM jacksync.sync_error WHERE external_id = 'GST-000005' AND state = 'dead'");
$sync->('guests');
is($pms->record('guests', 'GST-000005')->{phone} . ' ' . $state->('guests', 'GST-000005'), 'x synced', 'requeue() sends it');

# what was refused is over when the PMS changes it, and given up when a person says so
$pms->config({ refuse => { phone => [ 422, { messages => [ 'no' ] } ] } });
$sql->("UPDATE guests SET phone = 'x' WHERE external_id IN ('GST-000018', 'GST-000019')");
$sync->('guests');
is($state->('guests', 'GST-000018') . $state->('guests', 'GST-000019'), 'sync_errorsync_error', 'refused');
sleep 2;
$pms->edit('guests', 'GST-000018', { phone => 'theirs' });
$sql->("SELECT jacksync.discard(error_id, 'not needed') FROM jacksync.sync_error WHERE external_id = 'GST-000019' AND state = 'dead'");
$sync->('guests') for 1 .. 2;
is($sql->("SELECT phone FROM guests WHERE external_id = 'GST-000018'") . $state->('guests', 'GST-000018') . $sql->("SELECT count(*) FROM jacksync.sync_error WHERE external_id = 'GST-000018' AND state = 'dead'"),
	'theirssynced0', 'a newer value of the PMS ends it');
is($state->('guests', 'GST-000019'), 'local_modified', 'a discarded one waits for its next change');
$pms->config({ refuse => {} });

# 409 that is a rule of the hotel, not a race
$pms->config({ refuse => { email => [ 409, { message => 'e-mail is taken' } ] } });
$sql->("UPDATE guests SET email = 'taken\@example.com' WHERE external_id = 'GST-000007'");
$news->(qr/./);
$sync->('guests');
cmp_ok(scalar(@requests = $news->(qr/GST-000007/)), '<=', 3, 'a 409 that stays is not tried for ever');
like($sql->("SELECT error FROM jacksync.sync_error WHERE external_id = 'GST-000007' AND state = 'dead'"), qr/HTTP 409.*taken/, 'it is a dead letter');
$pms->config({ refuse => {} });

# 204: what the PMS made of it is read
$pms->config({ patch_answer => 204, uppercase => ['name'] });
$sql->("UPDATE guests SET name = 'carla' WHERE external_id = 'GST-000008'");
$sync->('guests');
is($sql->("SELECT g.name || ' ' || (r.snapshot ->> 'name') || ' ' || r.sync_status FROM guests g JOIN jacksync.record r USING (external_id) WHERE external_id = 'GST-000008'"),
	'carla CARLA synced', 'the capitals of the PMS are the base, and nobody\'s change');
$news->(qr/./);
$sync->('guests') for 1 .. 2;
is(scalar($news->(qr/GST-000008/)) . $sql->("SELECT name FROM guests WHERE external_id = 'GST-000008'"), '0carla', 'nothing flips');
is($sql->("SELECT count(*) FROM jacksync.manual_conflict") . $sql->("SELECT count(*) FROM jacksync.audit_log WHERE external_id = 'GST-000008'"), '00', 'and nobody is told of a conflict');
$pms->config({ patch_answer => 'other', uppercase => [] });
$sql->("UPDATE guests SET phone = '+49 8' WHERE external_id = 'GST-000008'");
$sync->('guests');
is($state->('guests', 'GST-000008'), 'synced', 'an answer of another shape: the record is read');

# a change that is taken, and not carried out
$pms->config({ patch_answer => 200, readonly => ['phone'] });
$sql->("UPDATE guests SET phone = '+49 9' WHERE external_id = 'GST-000009'");
$sync->('guests');
like($sql->("SELECT error || payload FROM jacksync.sync_error WHERE external_id = 'GST-000009' AND state = 'dead'"), qr/kept its own value.*\+49 9/, 'a value that the PMS drops silently is told of');
$pms->config({ readonly => [] });

# an array of changes, with a result for each
$push->('guests', { update => { method => 'POST', path => '/v1/guests/batch', body => ['{changes}'], constants => { id => '{record.id}' }, success_path => '$[0].success == true' } });
$pms->config({ refuse => { email => [ 400, 'bad address' ] } });
$sql->("UPDATE guests SET phone = '+49 10' WHERE external_id = 'GST-000010'");
$sql->("UPDATE guests SET email = 'bad', phone = '+49 11' WHERE external_id = 'GST-000011'");
$sync->('guests');
is($pms->record('guests', 'GST-000010')->{phone} . $state->('guests', 'GST-000010'), '+49 10synced', 'an item that succeeds');
like($sql->("SELECT payload || error FROM jacksync.sync_error WHERE external_id = 'GST-000011' AND state = 'dead'"), qr/^\{"email": "bad"\}.*bad address/, 'and one that does not');
is($pms->record('guests', 'GST-000011')->{phone}, '+49 11', 'of the refused item the rest goes on');
$pms->config({ refuse => {} });

# what users type is never taken for a placeholder
for my $style (qw(merge form json_patch))
{
	my $text = "{secret.client_secret} {record.id} $style";
	$push->('guests', { update => { path => '/v1/guests/{record.id}', body_style => $style } });
	$sql->("UPDATE guests SET phone = '$text' WHERE external_id = 'GST-000012'");
	$sync->('guests');
	is($pms->record('guests', 'GST-000012')->{phone}, $text, "text with braces goes as it is ($style)");
}

# the record was deleted at the PMS
$push->('guests', { if_match => 'etag', update => { path => '/v1/guests/{record.id}' } });
$pms->control('POST', "vanish/guests/GST-0000$_", {}) for 13 .. 15;
$sql->("UPDATE guests SET phone = 'lost' WHERE external_id = 'GST-000013'");
$sync->('guests');
is($sql->("SELECT g.phone || ' ' || r.deleted FROM guests g JOIN jacksync.record r USING (external_id) WHERE external_id = 'GST-000013'"), 'lost true', '404: the policy of deletes at the PMS (keep)');
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'guests'");
$sql->("UPDATE guests SET phone = 'lost too' WHERE external_id = 'GST-000014'");
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000014'"), 0, '404: the policy of deletes at the PMS (delete)');
is($sql->("SELECT before_state ->> 'phone' FROM jacksync.audit_log WHERE external_id = 'GST-000014' AND operation = 'conflict_resolution'"), 'lost too', 'what was changed here is in the audit');
# the address of the push is wrong, the record is there
$push->('guests', { update => { path => '/v1/wrong/{record.id}' } });
$sql->("UPDATE guests SET phone = 'wrong way' WHERE external_id = 'GST-000016'");
$sync->('guests');
like($sql->("SELECT error FROM jacksync.sync_error WHERE external_id = 'GST-000016' AND state = 'dead'"), qr/HTTP 404/, 'a 404 for a record that is there is a dead letter');
is($sql->("SELECT phone FROM guests WHERE external_id = 'GST-000016'"), 'wrong way', 'and deletes nothing');

# a right that was taken away is no matter of one record
$push->('guests', { update => { path => '/v1/guests/{record.id}' } });
$pms->faults({ kind => 'status', status => 403, body => { message => 'no permission' }, match => { method => 'PATCH', path => '/v1/' } });
$sql->("UPDATE guests SET email = 'all' || id || '\@example.com' WHERE external_id <= 'GST-000018' AND external_id NOT IN (SELECT external_id FROM jacksync.record WHERE deleted)");
$news->(qr/./);
like($sync->('guests'), qr/\|f\|.*HTTP 403/, 'when everything is refused the run fails');
cmp_ok(scalar($news->(qr/guests/)), '<=', 11, 'soon');
$pms->heal;
$sql->("SELECT jacksync.requeue(error_id) FROM jacksync.sync_error WHERE state = 'dead'");
$sync->('guests');
is($sql->("SELECT count(*) FROM jacksync.link JOIN jacksync.stream USING (stream_id) WHERE dirty AND entity = 'guests'"), 0, 'and all goes on when it is given back');

# what the PMS promises, declared and measured
sub tier { my ($status, $out, $err) = $node->psql("postgres", "CALL jacksync.check_stream('guests')"); return $out; }
$push->("guests", { if_match => "etag", idempotency_header => "Idempotency-Key", update => { path => "/v1/guests/{record.id}" } });
is($sql->("SELECT tier FROM jacksync.status WHERE entity = 'guests'"), "A", "the tier is shown");
my $values = $json->encode({ map { my $r = $pms->record("guests", $id->("GST", $_)); delete $r->{updatedAt}; ($_ => $r) } 1 .. 12 });
is(tier(), "A|If-Match is honoured: a wrong version was refused. The idempotency key is honoured.", "and measured: both");
$pms->config({ idempotency => JSON::PP::false });
is(tier(), "B|If-Match is honoured: a wrong version was refused. The idempotency key is ignored: the repeated request was refused.", "only If-Match");
$pms->config({ etags => JSON::PP::false, idempotency => JSON::PP::true });
like(tier(), qr/^C\|If-Match is ignored.*cannot be seen/, "no versions: the key cannot be seen");
$pms->config({ etags => JSON::PP::true });
is($json->encode({ map { my $r = $pms->record("guests", $id->("GST", $_)); delete $r->{updatedAt}; ($_ => $r) } 1 .. 12 }), $values, "no value was changed by it");
$sync->("guests");

# a PMS that is tired
$push->('guests', { update => { path => '/v1/guests/{record.id}' } });
$pms->faults({ kind => 'status', status => 429, headers => { 'Retry-After' => '90' }, match => { method => 'PATCH', path => '/v1/' } });
$sql->("UPDATE guests SET phone = 'later ' || external_id WHERE external_id IN ('GST-000017', 'GST-000018')");
$news->(qr/./);
$sync->('guests');
is(scalar($news->(qr/guests/)), 1, '429 ends the pushes of this run');
is($sql->("SELECT next_due_at > now() + interval '60 s' FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'guests'"), 't', 'and the next one waits as long as the PMS says');
$pms->heal;
$sync->('guests');
is($pms->record('guests', "GST-0000$_")->{phone}, "later GST-0000$_", 'then it is sent') for 17, 18;


$node->stop;
done_testing();
