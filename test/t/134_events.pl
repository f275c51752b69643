# Event queues: what is read once must not be lost.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::Odd;
use Test::More;

my $odd = JackSync::Odd->start('events');
my $sql = sub { return $odd->sql($_[0]); };
my $put = sub { my ($coll, $id, $name) = @_; return $odd->pms->put($coll, $id, { id => $id, name => $name, updatedAt => '2026-11-20T10:00:00Z' }); };
my $n = 100;
my $event = sub { my ($kind, $key, %more) = @_; return { kind => $kind, eventId => ++$n, key => $key, at => '2026-11-20 10:00:00.0', %more }; };
my $count = sub { my ($pattern) = @_; return scalar grep { $_->{path} =~ $pattern } @{ $odd->pms->log }; };

# two kinds of records in one queue
my %queue = (sync_mode => 'event_queue', request => { path => '/queue/hotel', query => { limit => '{limit}' } },
	paginator => { type => 'single_page', page_size => 5, event_id => '$.eventId', event_time => '$.at' });
foreach my $entity ('stays', 'people')
{
	$odd->stream($entity, { paging => 'offset', shape => 'summaries' }, { %queue, record_path => "\$.events[*] ? (\@.kind == \"$entity\")", primary_key => '$.key',
		full_request => { path => "/odd/$entity", query => { offset => '{offset}', size => '{limit}', since => '{since}', until => '{until}' }, record_path => '$.data[*]', primary_key => '$.id',
			paginator => { type => 'offset', page_size => 10, has_more_path => '$.hasMore' }, from => '-30 days', to => '1 year' },
		step => '100 days', detail => { path => "/odd/$entity/{record.id}", record_path => '$.item' } });
}
$odd->fill('stays', count => 25, start => '2026-11-20T00:00:00Z');
$odd->events('hotel', $event->('stays', 'R00003'));
$put->('stays', 'R00003', 'from the event');
my $run = $odd->sync('stays');
is("$run->{success}/" . $odd->rows('stays'), 't/25', 'the initial load, by full_request');
cmp_ok($count->(qr{^/odd/stays$}), '>=', 6, 'in windows and pages');
is($sql->("SELECT count(*) FROM jacksync.event WHERE cardinality(pending) = 0"), 0, 'an event of the queue waits for the other stream');
is($sql->("SELECT cardinality(pending) FROM jacksync.event"), 1, 'and for it alone');

# events, out of order, more than a poll brings, several of one record
$odd->forget;
$put->('stays', $_, 'changed') for 'R00001', 'R00002', 'NEW';
$put->('people', 'P1', 'Ann');
$odd->events('hotel', $event->('stays', 'R00001'), $event->('people', 'P1'), $event->('stays', 'R00002'), $event->('stays', 'NEW'),
	$event->('stays', 'R00001', at => '2026-11-19 10:00:00.0'), $event->('stays', 'R00001'), $event->('other', 'X'));
$run = $odd->sync('stays');
is("$run->{success}/$run->{created}/$run->{updated}", 't/1/2', 'events of three records');
is($count->(qr{^/odd/stays/}), 3, 'three details, though there were five events');
is($count->(qr{^/queue/hotel$}), 3, 'the queue was read until it was empty');
is($odd->rows('people'), 0, 'the other stream has not run');
$sql->("SELECT jacksync.pause('people')");
$odd->sync('stays');
$sql->("SELECT jacksync.resume('people')");
$run = $odd->sync('people');
is("$run->{success}/" . $sql->('SELECT string_agg(external_id || name, \' \') FROM people'), 't/P1Ann', 'it finds its events later');
is($sql->("SELECT count(*) FROM jacksync.event WHERE cardinality(pending) > 0"), 0, 'then all are taken');

# the full comparison of a queue, by full_request
my $all = $odd->rows('stays');
is($sql->("SELECT count(*) FROM jacksync.reconcile('stays')"), 0, 'the full comparison finds nothing');
$odd->sync('stays');
is($odd->rows('stays'), $all, 'and nothing is gone');

# known ones are not taken twice
$odd->forget;
$odd->events('hotel', { kind => 'stays', eventId => $n, key => 'R00001', at => 'x' }) for 1 .. 2;
$odd->sync('stays');
is($count->(qr{^/odd/stays/}), 0, 'an event that is known is not taken again');

# without a key: a dead letter
$odd->events('hotel', $event->('stays', undef));
$run = $odd->sync('stays');
is("$run->{success}/$run->{errors}", 't/1', 'an event without the id of a record');
is($sql->("SELECT state FROM jacksync.sync_error WHERE entity = 'stays' AND payload ? 'eventId'"), 'dead', 'is a dead letter');

# a failing detail loses nothing
$put->('stays', 'R00004', 'later');
$odd->events('hotel', $event->('stays', 'R00004'));
$odd->pms->faults({ kind => 'status', status => 503, match => { path => '/odd/stays/R00004' } });
is($odd->sync('stays')->{success}, 'f', 'the detail is not to be had');
$odd->pms->heal;
$odd->sync('stays');
is($sql->("SELECT name FROM stays WHERE external_id = 'R00004'"), 'later', 'later it is');

# killed between reading and applying
$put->('stays', $_, 'survived') for 'R00005', 'R00006';
$odd->events('hotel', $event->('stays', 'R00005'), $event->('stays', 'R00006'));
$odd->pms->faults({ kind => 'hang', match => { path => '/odd/stays/R00005' } });
my $session = $odd->node->background_psql('postgres', on_error_stop => 0);
$odd->forget;
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('stays');\n");
for (1 .. 300) { last if $count->(qr{R00005}) > 0; select undef, undef, undef, 0.1; }
is($count->(qr{R00005}), 1, 'the events were read, the details are on their way');
$odd->node->stop('immediate');
$odd->pms->heal;
$odd->node->start;
eval { $session->quit; };
is($odd->sync('stays')->{success}, 't', 'after a crash');
is($sql->("SELECT count(*) FROM stays WHERE name = 'survived'"), 2, 'no event is lost');
# the same before anything was done with them
$put->('stays', 'R00007', 'survived');
$odd->events('hotel', $event->('stays', 'R00007'));
$odd->pms->faults({ kind => 'slow', seconds => 0, match => { path => '/queue/hotel' }, count => 1 }, { kind => 'hang', match => { path => '/queue/hotel' } });
$odd->forget;
$session = $odd->node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('stays');\n");
for (1 .. 300) { last if $count->(qr{^/queue/hotel}) == 2; select undef, undef, undef, 0.1; }
$odd->node->stop('immediate');
$odd->pms->heal;
$odd->node->start;
eval { $session->quit; };
$odd->sync('stays');
is($sql->("SELECT count(*) FROM stays WHERE name = 'survived'"), 3, 'stored before the queue is read again');

# a queue that wants to be told, whose events bring the whole record
$odd->stream('acked', undef, { sync_mode => 'event_queue', request => { path => '/queue/acked' }, record_path => '$.events[*]', primary_key => '$.record.id',
	cursor_path => '$.at', fields => { name => '$.record.name' }, datetime_zone => 'Europe/Berlin',
	paginator => { type => 'single_page', event_id => '$.eventId', event_time => '$.at', ack => { method => 'POST', path => '/queue/acked/ack', body => { ids => '{record.ids}' } } } });
$odd->events('acked', $event->('x', 1, record => { id => 'A', name => 'new' }, at => '2026-11-20 11:00:00.0'), $event->('x', 2, record => { id => 'A', name => 'old' }));
$run = $odd->sync('acked');
is("$run->{success}/" . $sql->('SELECT external_id || name FROM acked'), 't/Anew', 'the order is that of the times of the events');
is($count->(qr{^/queue/acked/ack$}), 1, 'acknowledged');
$run = $odd->sync('acked');
is("$run->{success}/$run->{processed}", 't/0', 'and gone');

# the worker reads the queue once for both streams
$sql->("UPDATE jacksync.stream SET poll_interval = '2 s' WHERE entity IN ('stays', 'people')");
$put->('stays', 'W1', 'worker');
$put->('people', 'W2', 'worker');
$odd->events('hotel', $event->('people', 'W2'), $event->('stays', 'W1'));
$sql->('SELECT jacksync.start_worker()');
for (1 .. 300) { last if $sql->("SELECT (SELECT count(*) FROM stays WHERE name = 'worker') + (SELECT count(*) FROM people WHERE name = 'worker')") == 2; select undef, undef, undef, 0.1; }
is($sql->("SELECT (SELECT count(*) FROM stays WHERE name = 'worker') + (SELECT count(*) FROM people WHERE name = 'worker')"), 2, 'the worker takes events of both streams');
$sql->("SELECT jacksync.pause('stays'), jacksync.pause('people')");

# what is kept
$sql->("UPDATE jacksync.event SET received_at = now() - interval '1 year'; INSERT INTO jacksync.event VALUES ('odd', 1, 'waits', NULL, '{}', now() - interval '1 year', '{1}')");
$sql->("LOAD 'jacksync'; SELECT jacksync.purge(10000)");
is($sql->('SELECT string_agg(event_id, \' \') FROM jacksync.event'), 'waits', 'old events are purged, but never one that waits');

$odd->node->stop;
done_testing();
