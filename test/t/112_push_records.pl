# Records that begin or end here: create, delete, and what is not known of them.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 12, guests => 12);
my $node = JackSync::Node::hotel('records', $pms);
my $json = JSON::PP->new->canonical;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('$_[0]')"); diag($err) if $status; return $out; };
my %find = (find => { path => '/v1/guests', query => { reference => '{record.reference}' }, record_path => '$.data[*]' }, reference_path => '$.reference');
my $push = sub {
	my (%push) = @_;
	my $push = $json->encode({ read => { path => '/v1/guests/{record.id}' }, if_match => 'etag', idempotency_header => 'Idempotency-Key',
		update => { path => '/v1/guests/{record.id}' }, delete => { path => '/v1/guests/{record.id}' },
		create => { path => '/v1/guests', constants => { reference => '{record.reference}' }, %{ delete $push{create} // {} } }, %push });
	$push =~ s/'/''/g;
	$sql->("UPDATE jacksync.stream SET push = '$push' WHERE entity = 'guests'");
};
my $insert = sub { $sql->("INSERT INTO guests (name, email, tags, communication_channel) VALUES ('$_[0]', '$_[0]\@example.com', '{vip}', 'sms')"); };
my $external = sub { return $sql->("SELECT external_id FROM guests WHERE name = '$_[0]'"); };
# the records of the PMS that have a name
my $there = sub {
	my ($name) = @_;
	my %ids;
	$ids{ $_->[1] } = 1 for grep { $_->[0] eq 'guests' } @{ $pms->history };
	return grep { my $r = $pms->record('guests', $_); ($r->{name} // '') eq $name } sort keys %ids;
};
$sync->($_) for qw(guests reservations);

# a new row is created at the PMS
$push->(%find);
$insert->('new');
my $run = $sync->('guests');
my $id = $external->('new');
like($id, qr/^GUE-N\d+$/, 'a new row gets the id of the PMS');
my $record = $pms->record('guests', $id);
is("$record->{name} $record->{email} @{ $record->{tags} }", 'new new@example.com vip', 'the PMS has its values, those that it owns too');
ok(!exists $record->{communicationChannel}, 'what is ours alone stays here');
my ($request) = grep { $_->{method} eq 'POST' } @{ $pms->log };
($request) = grep { $_->{method} eq 'POST' && $_->{path} eq '/v1/guests' } @{ $pms->log };
is($request->{headers}{'Idempotency-Key'}, $record->{reference}, 'with our reference, in header and body');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = '$id'"), 'synced', 'it is a record like any other');
is($sql->('SELECT count(*) FROM jacksync.change'), 0, 'the id in the row is nobody\'s edit');
my $rows = $sql->('SELECT count(*) FROM guests');
$sync->('guests');
is($pms->requests('POST', qr{^/v1/guests$}) . $sql->('SELECT count(*) FROM guests'), "1$rows", 'it comes back as itself');
$sql->("UPDATE guests SET tags = '{vip,press}' WHERE name = 'new'");
$sync->('guests');
is("@{ $pms->record('guests', $id)->{tags} }", 'vip press', 'and its changes go on as updates');

# a record that the PMS deleted before we heard of it: with keys it is known, and without it is created again
for my $keys (JSON::PP::true, JSON::PP::false)
{
	my $name = $keys ? 'known by its key' : 'forgotten';
	$pms->config({ idempotency => $keys });
	$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
	$insert->($name);
	$sync->('guests');
	$pms->delete('guests', ($there->($name))[0]);
	$sync->('guests') for 1 .. 2;
	my @alive = grep { !$pms->record('guests', $_)->{deleted} } $there->($name);
	is(scalar(@alive), $keys ? 0 : 1, "a new record that was deleted there at once: $name");
}
$pms->config({ idempotency => JSON::PP::true });

# a page brings it before we have found it
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 },
	{ kind => 'garbage', match => { method => 'GET', path => '/v1/guests', query => 'reference' }, count => 1 });
$insert->('brought');
$sync->('guests') for 1 .. 2;
is($external->('brought'), ($there->('brought'))[0], 'a new record that a page brings first is known by our reference');
is($sql->("SELECT count(*) FROM guests WHERE name = 'brought'") . $sql->("SELECT string_agg(state, ' ') FROM jacksync.intent WHERE external_id = '" . $external->('brought') . "'"), '1done', 'and is no second row');

# where the id may be
$pms->config({ create_answer => 'location' });
$insert->('by header');
$sync->('guests');
is($external->('by header'), ($there->('by header'))[0], 'the id is in Location');
$pms->config({ create_answer => 'id' });
$push->(%find, create => { id_path => '$.created.number' });
$insert->('by path');
$sync->('guests');
is($external->('by path'), ($there->('by path'))[0], 'or at a path of its own');
$pms->config({ create_answer => 'none' });
$push->(%find);
$insert->('by reference');
$sync->('guests');
is($external->('by reference'), ($there->('by reference'))[0], 'or is looked up by our reference');
is($sql->("SELECT count(*) FROM jacksync.record WHERE sync_status <> 'synced'"), 0, 'all are synced');
$pms->config({ create_answer => 'record' });

# the PMS has values of its own for a new record
$pms->config({ uppercase => ['name'] });
$insert->('capital');
$sync->('guests');
is($sql->("SELECT name FROM guests WHERE email = 'capital\@example.com'"), 'CAPITAL', 'what the PMS makes of a field that it owns comes into the row');
$pms->config({ uppercase => [] });

# the answer is lost after the PMS acted
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('lost');
$sync->('guests');
is($sql->("SELECT state FROM jacksync.intent ORDER BY intent_id DESC LIMIT 1"), 'unknown', 'a lost answer: whether it was created is not known');
is($external->('lost'), '', 'the row has no id yet');
$sync->('guests');
is(scalar($there->('lost')) . $external->('lost'), '1' . ($there->('lost'))[0], 'it is looked up, and not created again');

# the request is lost before the PMS acted
$pms->faults({ kind => 'status', status => 503, match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('never came');
$sync->('guests');
$sql->("UPDATE guests SET tags = '{changed}' WHERE name = 'never came'");
$sync->('guests');
my @posts = grep { $_->{method} eq 'POST' && $_->{body} =~ /never came/ } @{ $pms->log };
is(scalar(@posts), 2, 'what was not found is sent again');
is($posts[0]{body} . $posts[0]{headers}{'Idempotency-Key'}, $posts[1]{body} . $posts[1]{headers}{'Idempotency-Key'}, 'as the very same request');
like("@{ $pms->record('guests', $external->('never came'))->{tags} }", qr/changed/, 'what was changed meanwhile follows');

# without a way to look it up, the key alone makes it safe
$push->();
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('by key');
$sync->('guests') for 1 .. 2;
is(scalar($there->('by key')) . $external->('by key'), '1' . ($there->('by key'))[0], 'sent again under its key, it acts once');
# not after a restore or a failover
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('restored');
$sync->('guests');
$sql->('UPDATE jacksync.installation SET timeline = timeline + 1');
$sync->('guests');
is(scalar(grep { $_->{method} eq 'POST' && $_->{body} =~ /restored/ } @{ $pms->log }), 1, 'after a change of the timeline nothing is sent without a look');
like($sql->("SELECT error FROM jacksync.sync_error WHERE state = 'dead' AND direction = 'push' ORDER BY error_id DESC LIMIT 1"), qr/not known.*no push\.find/, 'a person must decide');
$push->(%find);
$sql->("SELECT jacksync.discard(error_id, 'test') FROM jacksync.sync_error WHERE state = 'dead'");
$sql->("DELETE FROM guests WHERE name = 'restored'");

# the PMS's record comes before the answer does
for my $way ([ 'reference', %find ], [ 'waiting' ])
{
	my ($name, %more) = @$way;
	$push->(%more);
	$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
	$insert->("race $name");
	$sync->('guests');
	my ($new) = $there->("race $name");
	my $body = $json->encode([ $pms->record('guests', $new) ]);
	$sql->("SELECT records_processed FROM jacksync.apply('guests', '$body', 'sample_pms')");
	is($sql->("SELECT count(*) FROM guests WHERE name = 'race $name'"), 1, "the record comes first: no second row ($name)");
	is($external->("race $name"), $new, 'it is known by our reference') if $name eq 'reference';
	$sync->('guests') for 1 .. 2;
	is($sql->("SELECT count(*) || ' ' || min(external_id) FROM guests WHERE name = 'race $name'") . scalar($there->("race $name")), "1 ${new}1", "one row, one record ($name)");
}
$push->(%find);

# a create that the PMS refuses
$pms->config({ refuse => { tags => [ 422, { messages => ['no such tag'] } ] } });
$insert->('refused');
$sync->('guests');
like($sql->("SELECT error FROM jacksync.sync_error WHERE state = 'dead' AND direction = 'push'"), qr/422.*no such tag/, 'a refused create is a dead letter');
$sync->('guests');
is(scalar(grep { $_->{method} eq 'POST' && $_->{body} =~ /refused/ } @{ $pms->log }), 1, 'that is not tried for ever');
$pms->config({ refuse => {} });
$sql->("UPDATE guests SET tags = '{group}' WHERE name = 'refused'");
$sync->('guests');
isnt($external->('refused'), '', 'a change of the row tries again');
is($sql->("SELECT count(*) FROM jacksync.sync_error WHERE state = 'dead'"), 0, 'and the error is over');

# the PMS says that it has it already
$pms->faults({ kind => 'drop_after_apply', match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('twice');
$sync->('guests');
$pms->faults({ kind => 'status', status => 409, body => { message => 'reference exists' }, match => { method => 'POST', path => '/v1/guests' } });
$sync->('guests');
$pms->heal;
is(scalar($there->('twice')) . $external->('twice'), '1' . ($there->('twice'))[0], 'a record that the PMS has already is adopted');
$pms->faults({ kind => 'status', status => 409, body => { message => 'name is taken' }, match => { method => 'POST', path => '/v1/guests' } });
$insert->('clash');
$sync->('guests');
like($sql->("SELECT error FROM jacksync.sync_error WHERE state = 'dead' AND direction = 'push'"), qr/409.*name is taken/, 'and a clash that is none of ours is a dead letter');
$pms->heal;
$sql->("DELETE FROM guests WHERE name = 'clash'; SELECT jacksync.discard(error_id, 'test') FROM jacksync.sync_error WHERE state = 'dead'");

# the row is held when the answer comes
$pms->faults({ kind => 'slow', seconds => 3, match => { method => 'POST', path => '/v1/guests' }, count => 1 });
$insert->('held');
my $session = $node->background_psql('postgres');
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('guests');\n");
my $busy = $node->background_psql('postgres');
JackSync::Node::wait_for($node, "SELECT count(*) = 1 FROM jacksync.intent WHERE state = 'claimed'", 'a create is under way');
$busy->query_safe("BEGIN; SELECT 1 FROM guests WHERE name = 'held' FOR UPDATE");
JackSync::Node::wait_for($node, "SELECT count(*) = 0 FROM jacksync.intent WHERE state = 'claimed'", 'it is answered');
is($external->('held'), '', 'a row that is held cannot get its id');
$busy->query_safe("COMMIT");
$busy->quit;
$session->quit;
$sync->('guests');
is($external->('held'), ($there->('held'))[0], 'it gets it at the next push');

# deletes: pushed, with a tombstone
$sql->("UPDATE jacksync.entity SET on_local_delete = 'push' WHERE entity = 'guests'");
my $late = $json->encode([ $pms->record('guests', 'GST-000001') ]);
$late =~ s/'/''/g;
$sql->("DELETE FROM guests WHERE external_id = 'GST-000001'");
$sync->('guests');
is($pms->record('guests', 'GST-000001')->{deleted}, JSON::PP::true, 'a delete is told to the PMS');
is($sql->("SELECT deleted FROM jacksync.record WHERE external_id = 'GST-000001'"), 't', 'a tombstone stays');
$sql->("SELECT jacksync.apply('guests', '$late', 'sample_pms')");
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000001'"), 0, 'a late page does not revive it');

# what failed is over when nothing waits any more
my $open = sub { return $sql->("SELECT coalesce(string_agg(state || ' ' || error, '/'), '') FROM jacksync.sync_error WHERE state IN ('retry', 'waiting', 'dead')"); };
my $push_at_once = sub { $sql->("UPDATE jacksync.link SET next_push_at = NULL"); $sync->('guests'); };
is($open->(), '', 'nothing has failed');
my $unreadable = { kind => 'garbage', match => { method => 'GET', path => '/v1/guests/GST-000010' }, count => 1 };
$push->(%find, read_before_write => JSON::PP::true);
for my $how (
	[ 'an edit that is undone', sub { $sql->("UPDATE guests SET tags = t.tags FROM t WHERE external_id = 'GST-000010'") } ],
	[ 'an edit that the PMS has made too', sub { $pms->edit('guests', 'GST-000010', { tags => ['an edit that the PMS has made too'] }) } ],
	[ 'an edit that is deleted', sub { $sql->("DELETE FROM guests WHERE external_id = 'GST-000010'") } ])
{
	my ($what, $end) = @$how;
	$sql->("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT tags FROM guests WHERE external_id = 'GST-000010'; UPDATE guests SET tags = ARRAY['$what'] WHERE external_id = 'GST-000010'");
	$pms->faults($unreadable);
	$node->psql('postgres', "CALL jacksync.push('guests')");
	is($open->(), q(retry the PMS's answer to push.read is not the record), "$what: it waits");
	is($sql->("SELECT next_push_at > now() + interval '20 s' FROM jacksync.link WHERE external_id = 'GST-000010'"), 't', "$what: for the next try");
	$end->();
	$push_at_once->();
	is($open->(), '', "$what: the error is over");
}
is($pms->requests('DELETE', qr/GST-000010/), 1, 'and the delete was told');
$push->(%find);

# a change that was refused does not keep its row from being deleted
$pms->faults({ kind => 'status', status => 422, match => { method => 'PATCH', path => '/v1/guests/GST-000011' }, count => 1 });
$sql->("UPDATE guests SET tags = '{refused}' WHERE external_id = 'GST-000011'");
$sync->('guests');
like($open->(), qr/^dead the PMS answered HTTP 422/, 'an update is refused');
$sql->("DELETE FROM guests WHERE external_id = 'GST-000011'");
$sync->('guests');
is($pms->requests('DELETE', qr/GST-000011/) . $open->(), 1, 'the delete of its row is not, and the error is over');

# nor does a dead letter outlive a record that the PMS deletes, or a row that the PMS never had
$pms->faults(map { { kind => 'status', status => 422, match => { path => '/v1/guests', method => $_ }, count => 1 } } qw(PATCH POST));
$sql->("UPDATE guests SET tags = '{refused}' WHERE external_id = 'GST-000012'; UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'guests'");
$insert->('refused');
$sync->('guests');
is($open->() =~ s{: [^/]*}{}gr, 'dead the PMS answered HTTP 422/dead the PMS answered HTTP 422', 'an update and a new row are refused');
$pms->delete('guests', 'GST-000012');
$sql->("DELETE FROM guests WHERE name = 'refused'");
$sync->('guests');
is($open->() . $sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000012'"), '0', 'both are gone, and so are the errors');
$sql->("UPDATE jacksync.entity SET on_pms_delete = DEFAULT WHERE entity = 'guests'");

# at a PMS that forgets what it deletes
$pms->config({ tombstones => JSON::PP::false });
$pms->control('POST', 'vanish/guests/GST-000002', {});
$sql->("DELETE FROM guests WHERE external_id = 'GST-000002'");
$sync->('guests');
is($sql->("SELECT deleted FROM jacksync.record WHERE external_id = 'GST-000002'"), 't', '404: it is deleted already');
$pms->faults({ kind => 'drop_after_apply', match => { method => 'DELETE', path => '/v1/guests' }, count => 1 });
$sql->("DELETE FROM guests WHERE external_id = 'GST-000003'");
$sync->('guests') for 1 .. 2;
is($sql->("SELECT deleted FROM jacksync.record WHERE external_id = 'GST-000003'") . $pms->requests('DELETE', qr/GST-000003/), 't1', 'a lost answer of a delete is looked up');

# the key of a row that is gone on both sides is free again
$pms->control('POST', 'vanish/guests/GST-000009', {});
my $key = $sql->("SELECT id FROM guests WHERE external_id = 'GST-000009'");
$sql->("UPDATE guests SET tags = '{x}' WHERE external_id = 'GST-000009'");
$sync->('guests');
is($sql->("SELECT deleted FROM jacksync.record WHERE external_id = 'GST-000009'"), 't', 'a record is gone at the PMS, its row is kept');
$sql->("DELETE FROM guests WHERE id = $key; INSERT INTO guests (id, name) OVERRIDING SYSTEM VALUE VALUES ($key, 'heir')");
$sync->('guests');
is($external->('heir'), ($there->('heir'))[0], 'a new row under the same key is a new record');

# the PMS changed it meanwhile: the edit wins
$pms->edit('guests', 'GST-000004', { phone => 'edited there' });
$sql->("DELETE FROM guests WHERE external_id = 'GST-000004'");
$node->psql('postgres', "CALL jacksync.push('guests')");
is($sql->("SELECT phone FROM guests WHERE external_id = 'GST-000004'"), 'edited there', 'a record that was edited there comes back');
is($pms->record('guests', 'GST-000004')->{phone}, 'edited there', 'and is not deleted there');
is($sql->("SELECT conflict_details ->> 'resolution' FROM jacksync.audit_log WHERE external_id = 'GST-000004' AND operation = 'conflict_resolution'"), 'pms', 'the conflict is in the audit');

# deleted and inserted again: an update
my $deletes = $pms->requests('DELETE', qr/./);
$sql->("BEGIN; CREATE TEMP TABLE g AS SELECT * FROM guests WHERE external_id = 'GST-000005'; DELETE FROM guests WHERE external_id = 'GST-000005';
	INSERT INTO guests (external_id, name, email, tags) SELECT external_id, name, email, '{again}' FROM g; COMMIT");
$sync->('guests');
is($pms->requests('DELETE', qr/./), $deletes, 'a delete with an insert of the same record is no delete');
like("@{ $pms->record('guests', 'GST-000005')->{tags} }", qr/again/, 'but an update');

# the other policies
$sql->("UPDATE jacksync.entity SET on_local_delete = 'restore' WHERE entity = 'guests'");
$sql->("DELETE FROM guests WHERE external_id = 'GST-000006'");
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000006'"), 1, 'restore: it is back at the next sync');
$sql->("UPDATE jacksync.entity SET on_local_delete = 'ignore' WHERE entity = 'guests'");
$sql->("DELETE FROM guests WHERE external_id = 'GST-000007'");
$sync->('guests');
is($sql->("SELECT count(*) FROM guests WHERE external_id = 'GST-000007'") . $pms->requests('DELETE', qr/GST-000007/), '00', 'ignore: it stays away, and the PMS is not told');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'GST-000007'"), 'synced', 'nothing waits');

# two programs that write a field in different ways, without end
$sql->("UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'guests' AND field = 'phone'");
$sql->("CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN UPDATE public.guests SET phone = upper(NEW.phone) WHERE id = NEW.id; RETURN NULL; END \$\$;
	CREATE TRIGGER shout AFTER UPDATE OF phone ON guests FOR EACH ROW WHEN (NEW.phone <> upper(NEW.phone)) EXECUTE FUNCTION shout()");
$pms->config({ lowercase_later => ['phone'] });
$pms->edit('guests', 'GST-000008', { phone => 'call me' });
$sync->('guests') for 1 .. 12;
is($sql->("SELECT string_agg(field || ' ' || reason, ' ') FROM jacksync.open_conflict WHERE external_id = 'GST-000008'"), 'phone normalization loop', 'a field that goes to and fro is frozen');
my $writes = $pms->requests('PATCH', qr/GST-000008/);
cmp_ok($writes, '<=', 6, 'after a few rounds');
$sync->('guests') for 1 .. 3;
is($pms->requests('PATCH', qr/GST-000008/), $writes, 'for good');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE context ->> 'external_id' = 'GST-000008' OR message LIKE '%GST-000008%'"), 1, 'with one alert');

$node->stop;
done_testing();
