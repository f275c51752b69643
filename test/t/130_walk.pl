# Times, windows, pages and their ends, against lists that are odd.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::Odd;
use POSIX qw(strftime);
use Test::More;

my $odd = JackSync::Odd->start('walk');
my $sql = sub { return $odd->sql($_[0]); };
my %record = map { $_ => { id => $_, name => "name $_", updatedAt => '2026-11-20T10:00:00Z' } } qw(A B C D);

# fractions of a second are cut, never rounded; the PMS refuses them
$odd->stream('floored', { fractions => JSON::PP::false }, { lookback_window => '0' });
$odd->pms->put('floored', 'A', { id => 'A', name => 'a', updatedAt => '2026-11-20T10:00:00.9999999+01:00' });
is($odd->sync('floored')->{created}, 1, 'seven digits of a fraction');
is($odd->watermark('floored'), '2026-11-20 09:00:00.999999+00', 'are cut in the watermark');
$odd->forget;
$odd->pms->put('floored', 'B', { id => 'B', name => 'b', updatedAt => '2026-11-20T09:00:00.9999999Z' });
is($odd->sync('floored')->{created}, 1, 'what has the same time is found');
is(($odd->queries('floored'))[0]{since}, '2026-11-20T08:59:59Z', 'since is cut, and leaves room for an exclusive bound');

# formats
my %formats = (epoch => '1763632799', epoch_ms => '1763632799000', iso_z => '2025-11-20T09:59:59.000000Z',
	'YYYY-MM-DD HH24:MI:SS' => '2025-11-20 10:59:59', iso_offset => '2025-11-20T10:59:59+01:00');
my $n = 0;
foreach my $format (sort keys %formats)
{
	my $entity = 'format_' . $n++;
	$odd->stream($entity, { format => $format =~ /epoch/ ? $format : $format =~ /YYYY/ ? '%Y-%m-%d %H:%M:%S' : 'iso', zone_hours => 1 },
		{ datetime_format => $format, datetime_zone => 'Europe/Berlin', initial_value => '2025-11-20 09:59:59.7+00' });
	$odd->sync($entity);
	is(($odd->queries($entity))[0]{since}, $formats{$format}, "since as $format");
}

# naive times of a zone whose clock is set back: an hour that comes twice
$odd->stream('naive', { format => '%Y-%m-%d %H:%M:%S', zone_hours => 1 },
	{ datetime_format => 'YYYY-MM-DD HH24:MI:SS', datetime_zone => 'Europe/Berlin', lookback_window => '0' });
$odd->pms->put('naive', 'A', { id => 'A', name => 'a', updatedAt => '2026-10-25 02:30:00' });
$odd->sync('naive');
$odd->pms->put('naive', 'B', { id => 'B', name => 'b', updatedAt => '2026-10-25 02:10:00' });
is($odd->sync('naive')->{created}, 1, 'a record of the hour that comes twice is not missed');

# epoch times in records; a bad one fails its record, not the page
$odd->stream('epochs', undef, { datetime_format => 'epoch' });
$odd->script('epochs', { body => { data => [ { id => 'A', name => 'a', updatedAt => 1763632799 }, { id => 'B', name => 'b', updatedAt => '0000-00-00' } ] } });
my $run = $odd->sync('epochs');
is("$run->{success}/$run->{created}/$run->{errors}", 't/1/1', 'a record with a bad time fails by itself');
is($odd->watermark('epochs'), '2025-11-20 09:59:59+00', 'a number is a time');

# a long range in steps; refused if longer; never from a time to the same time
$odd->stream('steps', { max_window => 90 * 86400, start => 'exclusive', end => 'exclusive', order => 'desc' },
	{ initial_value => '2026-01-01 00:00:00+00', step => '90 days',
	  request => { path => '/odd/steps', query => { since => '{since}', until => '{until}', page => '{page}', size => '{limit}' } } });
$odd->pms->put('steps', $_->[0], { id => $_->[0], name => 'x', updatedAt => $_->[1] })
	for ['A', '2026-01-01T00:00:01Z'], ['B', '2026-04-01T00:00:00Z'], ['C', '2026-03-31T23:59:59Z'], ['D', '2026-04-01T00:00:01Z'], ['E', '2026-10-11T12:00:00Z'];
$run = $odd->sync('steps');
is("$run->{success}/$run->{created}", 't/5', 'a range of ten months in windows: all of it, whichever bound is exclusive');
my @windows = $odd->queries('steps');
cmp_ok(scalar @windows, '>=', 4, 'several windows');
is(scalar(grep { $_->{since} ge $_->{until} } @windows), 0, 'each ends after it starts');
is($odd->watermark('steps'), '2026-10-11 12:00:00+00', 'the watermark');
$odd->forget;
$odd->sync('steps');
is(scalar($odd->queries('steps')), 1, 'then one window is enough');
$sql->("UPDATE jacksync.stream SET lookback_window = '0' WHERE entity = 'steps';
	UPDATE jacksync.stream_state SET watermark = now() + interval '1 hour' WHERE stream_id = (SELECT stream_id FROM jacksync.stream WHERE entity = 'steps')");
$odd->forget;
is($odd->sync('steps')->{success}, 't', 'a watermark of a clock that is ahead');
is(scalar(grep { $_->{since} ge $_->{until} } $odd->queries('steps')), 0, 'makes no window that ends where it starts');

# a range that was cut off goes on in its window, at its page
$odd->stream('resumed', { max_window => 40 * 86400 },
	{ initial_value => '2026-08-01 00:00:00+00', step => '40 days', paginator => { type => 'page_number', page_size => 10 },
	  request => { path => '/odd/resumed', query => { since => '{since}', until => '{until}', page => '{page}', size => '{limit}' } } });
$odd->fill('resumed', count => 60, start => '2026-08-02T00:00:00Z', every => 86400);
$odd->pms->faults({ kind => 'status', status => 500, match => { path => '/odd/resumed', query => 'since=2026-09-0.*page=2|page=2.*since=2026-09-0' } });
$run = $odd->sync('resumed');
is("$run->{success}/$run->{processed}", 'f/49', 'cut off in the second window');
is($odd->watermark('resumed'), '', 'the watermark has not moved');
$odd->pms->heal;
$odd->forget;
$run = $odd->sync('resumed');
is("$run->{success}/" . $odd->rows('resumed'), 't/60', 'the rest');
is(($odd->queries('resumed'))[0]{page}, 2, 'begins at the page where it was');
like(($odd->queries('resumed'))[0]{since}, qr/^2026-09/, 'of its window');

# newest first, without a filter
$odd->stream('newest', { order => 'desc' }, { row_order => 'desc', paginator => { type => 'page_number', page_size => 10 },
	request => { path => '/odd/newest', query => { page => '{page}', size => '{limit}' } } });
$odd->fill('newest', count => 100, start => '2026-11-01T00:00:00Z', every => 3600);
is($odd->sync('newest')->{created}, 100, 'a feed with the newest first');
$odd->pms->put('newest', 'R00001', { id => 'R00001', name => 'changed', updatedAt => '2026-11-10T00:00:00Z' });
$odd->forget;
is($odd->sync('newest')->{updated}, 1, 'one that changed');
is(scalar($odd->queries('newest')), 2, 'and the walk stops at the first page that is older');
$odd->pms->faults({ kind => 'status', status => 500, match => { path => '/odd/newest', query => 'page=2' } });
$odd->pms->put('newest', 'R00002', { id => 'R00002', name => 'changed', updatedAt => '2026-11-11T00:00:00Z' });
my $before = $odd->watermark('newest');
is($odd->sync('newest')->{success}, 'f', 'a walk that is cut off');
is($odd->watermark('newest'), $before, 'does not move the watermark, though the newest came first');
$odd->pms->heal;

# every paginator, over more than one page
my %paginators = (
	numbers => [ { paging => 'page' }, { type => 'page_number', page_size => 10 }, { page => '{page}', size => '{limit}' } ],
	zero_based => [ { paging => 'offset_page' }, { type => 'offset', offset_unit => 'page', page_size => 10 }, { offset => '{offset}', size => '{limit}' } ],
	offsets => [ { paging => 'offset' }, { type => 'offset', page_size => 10, has_more_path => '$.hasMore' }, { offset => '{offset}', size => '{limit}' } ],
	cursors => [ { paging => 'cursor', order => 'desc' }, { type => 'cursor', cursor_path => '$.cursor', page_size => 10 }, { cursor => '{cursor}', size => '{limit}' } ],
	last_ids => [ { paging => 'last_id' }, { type => 'cursor', cursor_path => 'record.id', page_size => 10 }, { cursor => '{cursor}', size => '{limit}' } ],
	absolute => [ { paging => 'next_url' }, { type => 'next_url', next_url_path => '$.next', page_size => 10 }, { size => '{limit}' } ],
	relative => [ { paging => 'next_url', url => 'relative' }, { type => 'next_url', next_url_path => '$.next', page_size => 10 }, { size => '{limit}' } ],
	no_scheme => [ { paging => 'next_url', url => 'scheme_less' }, { type => 'next_url', next_url_path => '$.next', page_size => 10 }, { size => '{limit}' } ],
	links => [ { paging => 'link', url => 'relative' }, { type => 'header_link', page_size => 10 }, { size => '{limit}' } ],
	no_content => [ { paging => 'page', no_content => JSON::PP::true, total => undef }, { type => 'page_number', page_size => 10 }, { page => '{page}', size => '{limit}' } ],
	total_zero => [ { paging => 'page', total => 0 }, { type => 'page_number', page_size => 10, total_path => '$.total' }, { page => '{page}', size => '{limit}' } ],
	total_high => [ { paging => 'page', total => 1000 }, { type => 'page_number', page_size => 10, total_path => '$.total' }, { page => '{page}', size => '{limit}' } ],
	clamped => [ { paging => 'offset', clamp => 4 }, { type => 'offset', page_size => 10, total_path => '$.total' }, { offset => '{offset}', size => '{limit}' } ],
	heavy => [ { paging => 'page', heavy => 3 }, { type => 'page_number', page_size => 10 }, { page => '{page}', size => '{limit}' } ],
);
foreach my $entity (sort keys %paginators)
{
	my ($api, $paginator, $query) = @{ $paginators{$entity} };
	$odd->stream($entity, $api, { paginator => $paginator, request => { path => "/odd/$entity", query => $query } });
	is("@{[ @{ $odd->sync($entity) }{qw(success created)} ]}", 't 0', "$entity: an empty list");
	foreach my $count (20, 25)
	{
		$odd->fill($entity, count => $count, start => '2026-11-01T00:00:00Z', every => 60);
		$run = $odd->sync($entity);
		is("$run->{success}/" . $odd->rows($entity), "t/$count", "$entity: $count records") or diag($run->{error});
	}
}

# guards
my $page = sub { my ($ids, %more) = @_; return { body => { data => [ map { $record{$_} } @$ids ], %more } }; };
my %loops = (
	same_cursor => [ 'pagination loop: the same cursor', $page->(['A'], cursor => 'x'), $page->(['B'], cursor => 'x'), $page->(['C'], cursor => 'x') ],
	round_cursor => [ 'pagination loop: the same cursor', $page->(['A'], cursor => 'x'), $page->(['B'], cursor => 'y'), $page->(['C'], cursor => 'x') ],
	same_page => [ 'pagination loop: the same page', ($page->(['A'], hasMore => JSON::PP::true)) x 3 ],
	empty_pages => [ 'pagination does not end', map { $page->([], cursor => $_) } 1 .. 12 ],
	many_pages => [ 'more than 3 pages', map { $page->(['A'], cursor => $_) } 1 .. 9 ],
	next_is_self => [ 'pagination loop', ($page->(['A'], next => '/odd/next_is_self')) x 3 ],
	other_host => [ 'another host', $page->(['A'], next => 'http://169.254.169.254/latest') ],
);
foreach my $entity (sort keys %loops)
{
	my ($error, @answers) = @{ $loops{$entity} };
	$odd->stream($entity, undef, { request => { path => "/odd/$entity", query => { cursor => '{cursor}' } },
		paginator => { type => $entity =~ /page$/ ? 'page_number' : $entity =~ /next|host/ ? 'next_url' : 'cursor',
			cursor_path => '$.cursor', next_url_path => '$.next', has_more_path => '$.hasMore', max_pages => $entity eq 'many_pages' ? 3 : 1000 } });
	$odd->script($entity, @answers);
	$run = $odd->sync($entity);
	is($run->{success}, 'f', "$entity fails");
	like($run->{error}, qr/$error/, "$entity: and says why");
	is($odd->watermark($entity), '', "$entity: the watermark has not moved");
	cmp_ok($odd->rows($entity), '>=', 1, "$entity: what came is here") if $entity ne 'empty_pages';
}
$odd->stream('gap', undef, { request => { path => '/odd/gap', query => { cursor => '{cursor}' } },
	paginator => { type => 'cursor', cursor_path => '$.cursor' } });
$odd->script('gap', $page->(['A'], cursor => 'x'), $page->([], cursor => 'y'), $page->(['B'], cursor => undef));
is($odd->sync('gap')->{created}, 2, 'an empty page in between is not the end');

# answers that are none
my %broken = (
	failure => [ { body => { success => JSON::PP::false, data => [], message => 'no such property' } }, 'does not satisfy.*no such property' ],
	missing => [ { body => { success => JSON::PP::true, other => [] } }, 'nothing at' ],
	too_big => [ { status => 400, body => { message => 'size is at most 20' } }, 'size is at most 20.*pages of 50 records' ],
	html => [ { raw => '<html>login</html>' }, 'not valid JSON' ],
);
$odd->stream('answers', undef, { success_path => '$.success == true', request => { path => '/odd/answers', query => { size => '{limit}' } } });
foreach my $name (sort keys %broken)
{
	$odd->script('answers', $broken{$name}[0]);
	like($odd->sync('answers')->{error}, qr/$broken{$name}[1]/, "an answer that is none: $name");
}
$odd->script('answers', { body => { success => JSON::PP::true, data => [] } });
is($odd->sync('answers')->{success}, 't', 'an empty list is a list');

# the same record twice in one answer: the newer one; no id: a dead letter
$odd->stream('twice', undef, {});
$odd->script('twice', { body => { data => [
	{ id => 'A', name => 'newer', updatedAt => '2026-11-20T11:00:00Z' }, { id => 'A', name => 'older', updatedAt => '2026-11-20T10:00:00Z' },
	{ id => 'B', name => 'first', updatedAt => '2026-11-20T10:00:00Z' }, { id => 'B', name => 'last', updatedAt => '2026-11-20T10:00:00Z' },
	{ name => 'nobody', updatedAt => '2026-11-20T10:00:00Z' }, { id => 7, name => 'a number', unknown => { x => 1 } } ] } });
$run = $odd->sync('twice');
is("$run->{success}/$run->{errors}", 't/1', 'a page with duplicates and a record without an id');
is($sql->('SELECT string_agg(external_id || \'=\' || name, \' \' ORDER BY external_id) FROM twice'), '7=a number A=newer B=last', 'the newer version counts');
is($sql->("SELECT state FROM jacksync.sync_error WHERE entity = 'twice' AND error ~ 'no id'"), 'dead', 'without an id: a dead letter');

# a record in the future does not move the watermark beyond now
$odd->stream('future', undef, {});
$odd->pms->put('future', 'A', { id => 'A', name => 'a', updatedAt => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(time + 86400 * 365)) });
$odd->sync('future');
is($sql->("SELECT watermark <= now() FROM jacksync.stream JOIN jacksync.stream_state USING (stream_id) WHERE entity = 'future'"), 't', 'a time in the future');

# many records with one time, pages smaller than that, and changes while paging
$odd->stream('equal', undef, { paginator => { type => 'page_number', page_size => 10 } });
$odd->fill('equal', count => 57, start => '2026-11-20T00:00:00Z', every => 0);
is($odd->sync('equal')->{created}, 57, 'equal times over many pages');
$odd->fill('equal', count => 60, start => '2026-11-20T00:00:00Z', every => 0);
is($odd->sync('equal')->{created}, 3, 'and more of them later');

# a record that changes while the pages are read: others slip onto a page that was read
$odd->stream('slipping', undef, { paginator => { type => 'page_number', page_size => 10 } });
$odd->fill('slipping', count => 40, start => '2026-11-20T00:00:00Z');
$odd->pms->faults({ kind => 'slow', seconds => 1.5, match => { path => '/odd/slipping', query => 'page=3' }, count => 1 });
my $session = $odd->node->background_psql('postgres', on_error_stop => 0);
$odd->forget;
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('slipping');\n");
for (1 .. 300) { last if scalar($odd->queries('slipping')) == 3; select undef, undef, undef, 0.05; }
$odd->pms->edit('slipping', 'R00001', { name => 'changed' });
$session->quit;
is($odd->rows('slipping'), 40, 'none is missed');
is($sql->("SELECT records_processed || '|' || created || '|' || unchanged FROM jacksync.sync_run WHERE entity = 'slipping'"), '40|40|0',
	'what is read again counts once');
$odd->fill('slipping', count => 2000, start => '2026-11-20T00:00:00Z');
$sql->("UPDATE jacksync.stream SET lookback_window = '1 year' WHERE entity = 'slipping'");
$odd->pms->faults({ kind => 'slow', seconds => 1.5, match => { path => '/odd/slipping', query => 'page=3\\b' }, count => 1 });
$session = $odd->node->background_psql('postgres', on_error_stop => 0);
$odd->forget;
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('slipping');\n");
for (1 .. 300) { last if scalar($odd->queries('slipping')) == 3; select undef, undef, undef, 0.05; }
$odd->pms->edit('slipping', 'R00002', { name => 'changed' });
$session->quit;
is($sql->("SELECT count(*) FROM jacksync.sync_run WHERE entity = 'slipping' AND kind = 'reconcile'"), 1,
	'of many pages the full comparison finds what was missed');

# the next page is asked for while one is applied; no more than one
$odd->stream('ahead', undef, { paginator => { type => 'page_number', page_size => 10 } });
$odd->fill('ahead', count => 30, start => '2026-11-20T00:00:00Z');
$sql->("ALTER TABLE ahead ADD seen timestamptz DEFAULT clock_timestamp(); CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.pg_sleep(0.1); RETURN NEW; END';
	CREATE TRIGGER slowly BEFORE INSERT ON ahead FOR EACH ROW EXECUTE FUNCTION slowly()");
$odd->sync('ahead');
my @asked = map { $_->{time} } grep { $_->{path} eq '/odd/ahead' } @{ $odd->pms->log };
my ($first_page, $begun) = split /\|/, $sql->("SELECT extract(epoch FROM max(seen)), extract(epoch FROM min(seen)) FROM ahead WHERE external_id <= 'R00010'");
cmp_ok($asked[1], '<', $first_page, 'the second page was asked for before the first was applied');
cmp_ok($asked[2], '>', $first_page, 'the third after it');

# killed in the midst of a load: it goes on at its page
$odd->stream('load', undef, { paginator => { type => 'page_number', page_size => 100 } });
$odd->fill('load', count => 1000, start => '2026-11-20T00:00:00Z');
$odd->pms->faults({ kind => 'hang', match => { path => '/odd/load', query => 'page=8' } });
$session = $odd->node->background_psql('postgres', on_error_stop => 0);
$odd->forget;
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('load');\n");
for (1 .. 600) { last if $odd->rows('load') == 700; select undef, undef, undef, 0.05; }
$odd->node->stop('immediate');
$odd->pms->heal;
$odd->node->start;
eval { $session->quit; };
$odd->forget;
is($odd->sync('load')->{success}, 't', 'after a crash in a load');
is($odd->rows('load'), 1000, 'all are here');
is(scalar($odd->queries('load')), 4, 'and the last pages only were asked for: it went on where it was');

# a load that takes records for new, until an index says that one is not
$odd->stream('nearly', undef, { paginator => { type => 'page_number', page_size => 100 } });
$odd->fill('nearly', count => 500, start => '2026-11-20T00:00:00Z');
$sql->("INSERT INTO nearly (external_id, name) VALUES ('R00250', 'is here'), ('R00260', 'is here too')");
$run = $odd->sync('nearly');
is("$run->{processed}/$run->{created}/$run->{errors}", '500/498/0', 'rows that were here are found by a load');
is($odd->rows('nearly') . '|' . $sql->("SELECT count(*) FROM jacksync.record WHERE entity = 'nearly' AND sync_status = 'synced'"), '500|500', 'and are no second ones');
cmp_ok($sql->("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'nearly'"), '>', 500, 'their page was tried without a look, and again with one');
$odd->stream('checked', undef, { paginator => { type => 'page_number', page_size => 100 } });
$sql->("ALTER TABLE checked ADD seen bigint DEFAULT 4711, ADD CHECK (external_id <> 'R00155'), ADD EXCLUDE USING btree (name WITH =) WHERE (name = 'nobody')");
$odd->fill('checked', count => 200, start => '2026-11-20T00:00:00Z');
$run = $odd->sync('checked');
is("$run->{created}/$run->{errors}/" . $odd->rows('checked'), '199/1/199', 'a record that breaks a constraint fails by itself');
$sql->("ALTER TABLE checked DROP CONSTRAINT checked_name_excl");
$odd->stream('bulk', undef, { paginator => { type => 'page_number', page_size => 100 } });
$sql->("ALTER TABLE bulk ADD seen bigint DEFAULT 4711, ADD CHECK (external_id <> 'R00255')");
$odd->fill('bulk', count => 300, start => '2026-11-20T00:00:00Z');
$run = $odd->sync('bulk');
is("$run->{created}/$run->{errors}/" . $sql->('SELECT count(*) FROM bulk WHERE seen = 4711'), '299/1/299', 'so does one among many that are written at once, and defaults are in all');
is($sql->("SELECT count(*) FROM jacksync.record r JOIN bulk b ON b.id::text = r.local_id AND b.external_id = r.external_id WHERE r.entity = 'bulk' AND r.sync_status = 'synced' AND r.snapshot ->> 'name' = b.name"), 299, 'each with its link and its base');
$run = $odd->sync('bulk');
is("$run->{created}/$run->{updated}", '0/0', 'that are not written again');
$odd->stream('loose', undef, { paginator => { type => 'page_number', page_size => 100 } });
$sql->('ALTER TABLE loose DROP CONSTRAINT loose_external_id_key');
$odd->fill('loose', count => 300, start => '2026-11-20T00:00:00Z');
$sql->("INSERT INTO loose (external_id, name) VALUES ('R00250', 'is here')");
$run = $odd->sync('loose');
is("$run->{created}/$run->{errors}/" . $odd->rows('loose'), '299/0/300', 'without a unique index every row is looked for');

# a record is the same whether it is read from the tree of its page or as jsonb,
# and in whatever order and with whatever blanks it is written
$odd->stream('alike', undef, { paginator => { type => 'single_page' }, fields => { name => '$.who.name', room => { path => '$.room', map => { 7 => 'seven' } } } });
my @alike = (
	'{"id": "A", "updatedAt": "2026-11-20T08:00:00.123456789Z", "who": {"name": "a\\u00e9\\"b", "tags": ["x", {"y": null}]}, "room": 7, "n": [1e3, -0, 1.50, 12345678901234567890, 2E-2, true, false, {}, []]}',
	'{"id": 12, "updatedAt": "2026-11-20T08:00:01Z", "who": {"name": null}, "room": "9", "empty": ""}', '{"id": true, "updatedAt": 1763625602, "who": "?"}');
$odd->script('alike', { raw => '{"data": [' . join(',', @alike) . ']}' });
is($odd->sync('alike')->{created}, 3, 'records of all kinds');
is($sql->(q{SELECT string_agg(concat_ws('/', external_id, name, room), ' ' ORDER BY external_id) FROM alike}), "12/9 A/a\x{c3}\x{a9}\"b/seven true", 'with their values');
$odd->script('alike', { raw => '{"data": [ {"n":[1e3,-0,1.50,12345678901234567890,2E-2,true,false,{},[]],"room":7,"who":{"tags":["x",{"y":null}],"name":"a\\u00e9\\"b"},"updatedAt":"2026-11-20T08:00:00.123456789Z","id":"A"},' .
	  join(' , ', @alike[1, 2]) . '] }' });
is($odd->sync('alike')->{unchanged}, 3, 'in another order');
$odd->script('alike', { raw => '{"data": [' . join(',', @alike) . ']}' });
$before = $sql->("SELECT string_agg(link.xmin::text, ' ' ORDER BY external_id) FROM jacksync.link JOIN jacksync.entity USING (entity_id) WHERE entity = 'alike'");
is($sql->("SET jacksync.force_general_path = on; CALL jacksync.sync('alike')") =~ /\|t\|3\|0\|0\|3\|/, 1, 'as jsonb');
is($sql->("SELECT string_agg(link.xmin::text, ' ' ORDER BY external_id) FROM jacksync.link JOIN jacksync.entity USING (entity_id) WHERE entity = 'alike'"), $before, 'nothing was written');

# everything, every time: what is unchanged costs nothing
$odd->stream('everything', { total => undef }, { sync_mode => 'full_refresh', cursor_path => undef });
$odd->fill('everything', count => 120, start => '2026-11-20T00:00:00Z');
$odd->sync('everything');
$before = $sql->("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ('everything', 'link', 'audit_log')");
$run = $odd->sync('everything');
is("$run->{processed}/$run->{unchanged}/$run->{updated}", '120/120/0', 'a full refresh without changes');
is($sql->("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables WHERE relname IN ('everything', 'link', 'audit_log')"), $before, 'writes nothing');

# records in odd places
$odd->stream('maps', { shape => 'map' }, { record_path => '$.data.*' });
is($odd->sync('maps')->{success}, 't', 'an empty array in place of an object');
$odd->fill('maps', count => 3, start => '2026-11-20T00:00:00Z');
is($odd->sync('maps')->{created}, 3, 'an object keyed by id');

$odd->stream('nested', { shape => 'nested' }, { record_path => '$.items[*] ? (@.name != "name 2")', parent_path => '$.data[*]',
	fields => { property => '$._parent.propertyID' }, key_template => '{parent.propertyID}/{record.id}' });
is($odd->sync('nested')->{success}, 't', 'no parents');
$odd->fill('nested', count => 3, start => '2026-11-20T00:00:00Z');
$odd->sync('nested');
is($sql->("SELECT string_agg(external_id || ':' || property, ' ' ORDER BY external_id) FROM nested"), 'P1/R00001:P1 P1/R00003:P1',
	'records below a parent have its values, a filter, and an id made of several values');
$run = $odd->sync('nested');
is("$run->{unchanged}/$run->{updated}", '2/0', 'and are unchanged the next time');

$odd->stream('guests', { shape => 'parents' }, { record_path => '$.guest', parent_path => '$.data[*]', cursor_path => '$._parent.modified',
	key_template => '{parent.id}:primary' });
$odd->fill('guests', count => 3, start => '2026-11-20T00:00:00Z');
$odd->pms->put('guests', 'R00003', { id => 'R00003', updatedAt => '2026-11-20T00:00:00Z' });
is($odd->sync('guests')->{created}, 2, 'a guest inside of a reservation; one has none');
is($sql->("SELECT external_id, name FROM guests ORDER BY 1 LIMIT 1"), 'R00001:primary|name 1', 'with an id of its own');
is($odd->watermark('guests'), '2026-11-20 00:00:01+00', 'and the time of the reservation');

$odd->stream('typed', undef, { record_path => '$.data[*] ? (@.kind == "room")', primary_key => '$.ids[*] ? (@.type == "Room").id' });
$odd->script('typed', { body => { data => [ { kind => 'room', ids => [ { type => 'Other', id => 1 }, { type => 'Room', id => 571062 } ], name => 'r' }, { kind => 'x' } ] } });
$odd->sync('typed');
is($sql->('SELECT external_id FROM typed'), '571062', 'an id in a typed list, a filter in the list');
$odd->script('typed', { body => { other => [] } });
like($odd->sync('typed')->{error}, qr/nothing at/, 'a list that is not there, before a filter, is an error');

$odd->node->stop;
done_testing();
