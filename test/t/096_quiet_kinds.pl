# Polls that find nothing write nothing, of whatever kind the stream is, and
# also with a worker that was not preloaded.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::Node;
use JackSync::Odd;
use Test::More;

my $odd = JackSync::Odd->start('kinds', conf => "autovacuum = off\n");
my $sql = sub { return $odd->sql($_[0]); };
my $wait = sub { return JackSync::Node::wait_for($odd->node, @_); };

# everything, every time, in pages; summaries that are listed again, with details; a queue; the newest first
$odd->stream('everything', undef, { sync_mode => 'full_refresh', paginator => { type => 'page_number', page_size => 20 } });
$odd->fill('everything', count => 70, start => '2026-11-20T00:00:00Z');
$odd->stream('summaries', { shape => 'summaries' }, { lookback_window => '1 year', paginator => { type => 'page_number', page_size => 20 },
	detail => { path => '/odd/summaries/{record.id}', record_path => '$.item' } });
$odd->fill('summaries', count => 50, start => '2026-11-20T00:00:00Z');
$odd->stream('stays', { paging => 'offset', shape => 'summaries' }, { sync_mode => 'event_queue', request => { path => '/queue/hotel', query => { limit => '{limit}' } },
	paginator => { type => 'single_page', page_size => 5, event_id => '$.eventId', event_time => '$.at' }, record_path => '$.events[*] ? (@.kind == "stays")', primary_key => '$.key',
	full_request => { path => '/odd/stays', query => { offset => '{offset}', size => '{limit}' }, record_path => '$.data[*]', primary_key => '$.id',
		paginator => { type => 'offset', page_size => 10, has_more_path => '$.hasMore' } }, detail => { path => '/odd/stays/{record.id}', record_path => '$.item' } });
$odd->fill('stays', count => 25, start => '2026-11-20T00:00:00Z');
$odd->stream('untimed', undef, { cursor_path => undef, paginator => { type => 'single_page' }, request => { path => '/odd/untimed', query => { since => '{since}' } } });
$odd->fill('untimed', count => 10, start => '2026-11-20T00:00:00Z');
$sql->("UPDATE jacksync.stream SET poll_interval = '200 ms'; SELECT jacksync.start_worker()");

my $idle = "SELECT count(*) = 4 FROM jacksync.stream_state WHERE jacksync.live_last_sync(stream_id, last_sync_at) > last_sync_at + interval '1 s'";
$wait->($idle, 'all streams are in sync, and nothing is to be done');
is($odd->rows('everything') + $odd->rows('summaries') + $odd->rows('stays') + $odd->rows('untimed'), 155, 'all records are there');
my $runs = $sql->('SELECT count(*) FROM jacksync.sync_run');
my $before = $sql->('SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables');
$sql->('CHECKPOINT');
my $from = $sql->('SELECT pg_current_wal_insert_lsn()');
my $since = $sql->('SELECT clock_timestamp()');
$odd->forget;
for (1 .. 300) { last if scalar($odd->queries('everything')) >= 60 && scalar($odd->queries('untimed')) >= 15; select undef, undef, undef, 0.1; }
$wait->("SELECT bool_and(last_sync > '$since' AND status = 'connected') FROM jacksync.status", 'they are polled');
my @records = JackSync::Node::wal_of($odd->node, $from, $sql->('SELECT pg_current_wal_insert_lsn()'));
diag(sprintf 'measured: %d requests that brought nothing: %d WAL records', scalar(@{ $odd->pms->log }), scalar(@records));
is(join("\n", @records[0 .. ($#records < 9 ? $#records : 9)]), '', 'without any WAL');
is($sql->('SELECT count(*) FROM jacksync.sync_run') - $runs, 0, 'without a run');
is($sql->('SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables') - $before, 0, 'and without a row');

# the watermark of a list without times goes on in memory: what is asked for does not grow
my ($asked) = map { $_->{since} } ($odd->queries('untimed'))[-1];
cmp_ok($sql->("SELECT extract(epoch FROM clock_timestamp() - '$asked')"), '<', 5 * 60 + 60, 'lists without times are read from the last poll on, less the lookback');

# where a walk is, is not written while nothing is found; one that fails goes on where it was
$odd->forget;
$odd->pms->faults({ kind => 'status', status => 500, match => { path => '/odd/everything', query => 'page=3\b' }, count => 1 });
my $pages = '';
for (1 .. 300) { $pages = join ' ', map { $_->{page} } $odd->queries('everything'); last if $pages =~ /3 3 4 1/; select undef, undef, undef, 0.1; }
like($pages, qr/\b3 3 4 1\b/, 'a walk that failed at its third page goes on there');
$wait->("SELECT status = 'connected' FROM jacksync.status WHERE entity = 'everything'", 'and is well');

# a change of each still comes
$odd->pms->edit('everything', 'R00001', { name => 'changed' });
$odd->pms->edit('summaries', 'R00001', { name => 'changed' });
$odd->pms->edit('stays', 'R00001', { name => 'changed' });
$odd->pms->edit('untimed', 'R00001', { name => 'changed' });
$odd->events('hotel', { kind => 'stays', eventId => 1, key => 'R00001', at => '2026-11-20 10:00:00.0' });
$wait->("SELECT count(*) = 4 FROM (SELECT name FROM everything UNION ALL SELECT name FROM summaries UNION ALL SELECT name FROM stays UNION ALL SELECT name FROM untimed) n WHERE name = 'changed'",
	'what changes is found');
$wait->("SELECT count(DISTINCT entity) = 4 FROM jacksync.sync_run WHERE idle > 3", 'in runs that count the polls before');
cmp_ok(scalar(JackSync::Node::wal_of($odd->node, $from, $sql->('SELECT pg_current_wal_insert_lsn()'))), '>', 0, 'and write WAL, which is seen here');
$odd->node->stop;
done_testing();
