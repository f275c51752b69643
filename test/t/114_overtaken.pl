# What is older than what was told meanwhile: a read before a write, a webhook, a page.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 12, guests => 12);
my $node = JackSync::Node::hotel('overtaken', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(q{CALL jacksync.sync('guests')});
my $push = JSON::PP->new->encode({ read => { path => '/v1/guests/{record.id}' }, if_match => 'etag', idempotency_header => 'Idempotency-Key',
	update => { path => '/v1/guests/{record.id}' } });
$sql->("UPDATE jacksync.stream SET push = '$push' WHERE entity = 'guests'");

# a webhook tells the name, and so many answers to our read were made before it;
# returns the requests for the record
my $overtake = sub {
	my ($id, $times) = @_;
	my $older = $pms->record('guests', $id);
	$pms->edit('guests', $id, { name => 'told by a webhook' });
	my $told = JSON::PP->new->encode([ $pms->record('guests', $id) ]);
	$told =~ s/'/''/g;
	$sql->("SELECT jacksync.apply('guests', '$told', 'sample_pms')");
	$sql->("UPDATE guests SET tags = tags || '{overtaken}' WHERE external_id = '$id'");
	$pms->faults({ kind => 'status', status => 200, body => $older, headers => { ETag => '"1"' },
		match => { method => 'GET', path => "^/v1/guests/$id\$" }, count => $times });
	$sql->(q{CALL jacksync.sync('guests')});
	return grep { $_->{path} eq "/v1/guests/$id" } @{ $pms->log };
};
my @asked = $overtake->('GST-000002', 1);
is(join(' ', map { $_->{method} } @asked), 'GET GET PATCH', 'it is read again before anything is written');
ok($asked[-1]{headers}{'If-Match'}, 'so that no version is written over that nobody has seen');
is($sql->("SELECT name || ' ' || sync_status FROM guests JOIN jacksync.record USING (external_id) WHERE external_id = 'GST-000002'"),
	'told by a webhook synced', 'and both have what the other wrote');

# twice: nothing is written without a version all the same
@asked = $overtake->('GST-000003', 2);
is(join(' ', map { $_->{method} } @asked), 'GET GET PATCH GET PATCH', 'what was overtaken twice is refused, and read once more');
is($asked[2]{headers}{'If-Match'}, '"1"', 'since it says which version was read');
is($sql->("SELECT name || ' ' || sync_status FROM guests JOIN jacksync.record USING (external_id) WHERE external_id = 'GST-000003'"),
	'told by a webhook synced', 'and both have what the other wrote');

# a row that comes back after its change was refused as outdated: its record is
# still to be read
my $requests = sub { return join ' ', map { $_->{method} } grep { $_->{path} eq '/v1/guests/GST-000006' } @{ $pms->log }; };
my $edit = sub { $sql->("UPDATE guests SET tags = tags || '{$_[0]}' WHERE external_id = 'GST-000006'"); };
$edit->('first');
$sql->(q{CALL jacksync.sync('guests')});
$pms->edit('guests', 'GST-000006', { name => 'written there' });
$edit->('second');
$pms->faults({ kind => 'status', status => 500, match => { method => 'GET', path => '^/v1/guests/GST-000006$' } });
$node->psql('postgres', q{CALL jacksync.push('guests')});
$pms->heal;
is($requests->(), 'GET PATCH PATCH GET', 'a change is refused as outdated, and the record cannot be read');
$sql->(q{DELETE FROM guests WHERE external_id = 'GST-000006'});
$node->psql('postgres', q{CALL jacksync.push('guests')});
is($sql->(q{SELECT count(*) FROM guests WHERE external_id = 'GST-000006'}), 1, 'its row is deleted, and comes back');
$edit->('third');
$node->psql('postgres', q{CALL jacksync.push('guests')});
like($requests->(), qr/^GET PATCH PATCH GET GET( GET)* PATCH$/, 'the record is read before it is written');
is($sql->("SELECT name || ' ' || sync_status FROM guests JOIN jacksync.record USING (external_id) WHERE external_id = 'GST-000006'"),
	'written there synced', 'and nothing is refused for good');

# a change that is taken, and not shown (204): what somebody writes at the PMS
# before we read it is not what the PMS made of our value
my $unseen = sub {
	my ($id, $how) = @_;
	$sql->("UPDATE guests SET notes = 'ours' WHERE external_id = '$id'");
	my %read = (match => { method => 'GET', path => "^/v1/guests/$id\$" });
	$pms->faults({ kind => 'hide', ids => [], %read, count => 1 }, { kind => 'hold', %read });	# not the read before the write
	my $pushing = $node->background_psql('postgres');
	$pushing->query_until(qr/started/, "\\echo started\nCALL jacksync.push('guests');\n");
	JackSync::Node::wait_for($node, "SELECT count(*) = 1 FROM jacksync.intent WHERE state = 'unknown' AND http_status = 204", "$how: it is taken, and being read");
	$pms->edit('guests', $id, { notes => 'theirs' });
	$pms->heal;
	$pushing->quit;
	$sql->(q{CALL jacksync.sync('guests')});
	is($sql->("SELECT notes || ' ' || sync_status FROM guests JOIN jacksync.record USING (external_id) WHERE external_id = '$id'") . ' ' .
		$pms->record('guests', $id)->{notes}, 'theirs synced theirs', "$how: both have what was written last");
};
$pms->config({ patch_answer => 204 });
$unseen->('GST-000008', 'with versions');
$sql->(q{UPDATE jacksync.stream SET push = push - 'if_match' WHERE entity = 'guests'});
$pms->config({ etags => JSON::PP::false });
$unseen->('GST-000009', 'without versions');
$pms->config({ patch_answer => 200, etags => JSON::PP::true });

# a webhook tells what was before a push, while that push is under way, and
# commits only when the push is being recorded, which so does not know of it: it
# is tried again after it, and not believed (R2).  The PMS has neither versions
# nor times, or they would tell as well; and its list fails then, or it would
# mend what was wrong.
my $guest = 'GST-000007';
my $here = sub { return $sql->("SELECT array_to_string(tags, ' ') FROM guests WHERE external_id = '$guest'"); };
my $tag = sub { $sql->("UPDATE guests SET tags = array_append(tags, '$_[0]') WHERE external_id = '$guest'"); };
my $waiting = sub { return $sql->("SELECT count(*) FROM jacksync.sync_error WHERE external_id = '$guest' AND direction = 'pull' AND state = 'waiting'"); };
$sql->(q{UPDATE jacksync.stream SET cursor_path = NULL, push = push - '{if_match,idempotency_header}'::text[] WHERE entity = 'guests'});
$sql->(q{CALL jacksync.sync('guests')});
$tag->('first');
$pms->faults({ kind => 'hold', match => { method => 'PATCH', path => "^/v1/guests/$guest\$" } });
my $session = $node->background_psql('postgres');
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.push('guests');\n");
JackSync::Node::wait_for($node, "SELECT count(*) = 1 FROM jacksync.intent WHERE state = 'claimed'", 'a push is under way');
$pms->edit('guests', $guest, { name => 'written meanwhile' });
my $before = JSON::PP->new->encode([ $pms->record('guests', $guest) ]);
$before =~ s/'/''/g;
my $webhook = $node->background_psql('postgres');
$webhook->query_safe("BEGIN; SELECT jacksync.apply('guests', '$before', 'sample_pms')");
$pms->heal;
JackSync::Node::wait_for($node, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", 'it is answered, and waits for a webhook');
$webhook->query_safe('COMMIT');
$webhook->quit;
$session->quit;
is($waiting->(), 1, 'what the webhook told is to be tried again');
$pms->faults({ kind => 'status', status => 500, match => { method => 'GET', path => '^/v1/guests' }, count => 100 });
$node->psql('postgres', q{CALL jacksync.sync('guests')});
is($waiting->(), 0, 'it is tried again');
like($here->(), qr/first$/, 'and takes nothing back');
$pms->heal;
$sql->(q{CALL jacksync.sync('guests')}) for 1 .. 2;
is($here->(), join(' ', @{ $pms->record('guests', $guest)->{tags} }), 'both are the same');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = '$guest'"), 'synced', 'and nothing is left to be done');

# a page that may be older than our last push is not believed (here that push
# is made to come later than it did), and its record is read by itself
my $status = sub {
	return $sql->("SELECT status || ' ' || sync_status FROM reservations JOIN jacksync.record USING (external_id) WHERE external_id = '$_[0]'");
};
$sql->(q{UPDATE jacksync.stream SET lookback_window = '0 s' WHERE entity = 'reservations'});
$sql->(q{CALL jacksync.sync('reservations')});
$sql->(q{UPDATE jacksync.link SET finalized_tick = (SELECT last_value + 2 FROM jacksync.tick) WHERE external_id = 'RES-000004'});
$pms->edit('reservations', 'RES-000004', { status => 'old page' });
$pms->edit('reservations', 'RES-000005', { status => 'behind it' });
$sql->(q{CALL jacksync.sync('reservations')});
like($status->('RES-000004'), qr/ pms_modified$/, 'a page from before a push is not believed');
is($status->('RES-000005'), 'behind it synced', 'other records are');
sleep 2;                            # the watermark keeps its distance
$pms->edit('reservations', 'RES-000006', { status => 'later' });
sleep 3;
$sql->(q{CALL jacksync.sync('reservations')});
$sql->(q{SELECT nextval('jacksync.tick') FROM generate_series(1, 2)});
$sql->(q{CALL jacksync.sync('reservations')});
is($status->('RES-000004'), 'old page synced', 'and the record is read, though no page brings it again');

$node->stop;
done_testing();
