# Second requests: lists that have ids or summaries only.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::Odd;
use Test::More;

my $odd = JackSync::Odd->start('detail');
my $sql = sub { return $odd->sql($_[0]); };
my $details = sub { my ($coll) = @_; return scalar grep { $_->{path} =~ m{^/odd/$coll/} } @{ $odd->pms->log }; };
my $put = sub { my ($coll, $id, $name, $time, %more) = @_; return $odd->pms->put($coll, $id, { id => $id, name => $name, updatedAt => $time, %more }); };

# bare ids, numbers: everything else is in the detail
$odd->stream('bare', { shape => 'ids' }, { record_path => '$[*]', primary_key => '$', deleted_path => '$.cancelled == true',
	detail => { path => '/odd/bare/{record.id}', record_path => '$.item', primary_key => '$.id' } });
$put->('bare', $_, "name $_", '2026-11-20T10:00:00Z') for 1 .. 3;
my $run = $odd->sync('bare');
is("$run->{success}/$run->{created}", 't/3', 'a list of bare ids');
is($sql->("SELECT string_agg(external_id || '=' || name, ' ' ORDER BY external_id) FROM bare"), '1=name 1 2=name 2 3=name 3', 'with the details');
$run = $odd->sync('bare');
is("$run->{success}/$run->{processed}", 't/0', 'again: nothing is listed as changed');
$odd->pms->edit('bare', 2, { name => 'changed' });
$run = $odd->sync('bare');
is("$run->{processed}/$run->{updated}", '1/1', 'one that changed');

like($sql->("SELECT watermark FROM jacksync.stream JOIN jacksync.stream_state USING (stream_id) WHERE entity = 'bare'"), qr/^2\d\d\d-/,
	'a list without times is complete up to its request');
my @drift = split /\n/, $sql->("SELECT reason FROM jacksync.reconcile('bare')");
is("@drift", '', 'a comparison finds nothing');
is($odd->rows('bare'), 3, 'and nothing is gone');

# children of a parent, with their details
$odd->stream('children', { shape => 'nested' }, { record_path => '$.items[*]', parent_path => '$.data[*]', key_template => '{parent.propertyID}-{record.id}',
	fields => { property => '$._list._parent.propertyID', room => '$._list.name' },
	detail => { path => '/odd/children/{record.id}', query => { property => '{parent.propertyID}' }, record_path => '$.item' } });
$odd->pms->put('children', 'C1', { id => 'C1', name => 'child', updatedAt => '2026-11-20T10:00:00Z' });
$odd->sync('children');
is($sql->('SELECT external_id, name, property, room FROM children'), 'P1-C1|child|P1|child', 'a child with its detail, and values of parent and list');
is(($odd->queries('children/C1'))[0]{property}, 'P1', 'which was asked for with the values of the list');

# summaries with a time: only what changed is asked for; the time is on the list only
$odd->stream('summaries', { shape => 'summaries', lacking => [ 'updatedAt' ] }, { lookback_window => '30 days', paginator => { type => 'page_number', page_size => 50 },
	detail => { path => '/odd/summaries/{record.id}', record_path => '$.item' } });
$odd->fill('summaries', count => 130, start => '2026-11-20T00:00:00Z');
$run = $odd->sync('summaries');
is("$run->{success}/$run->{created}", 't/130', 'a list of summaries');
is($details->('summaries'), 130, 'one detail each');
is($sql->("SELECT pms_updated_at FROM jacksync.link JOIN jacksync.entity USING (entity_id) WHERE entity = 'summaries' AND external_id = 'R00002'"),
	'2026-11-20 00:00:01+00', 'with the time of the list');
$odd->forget;
$put->('summaries', 'R00007', 'changed', '2026-11-20T12:00:00Z');
$run = $odd->sync('summaries');
is("$run->{updated}/$run->{unchanged}", '1/129', 'one that changed');
is($details->('summaries'), 1, 'is asked for, and no other');
is($sql->("SELECT name FROM summaries WHERE external_id = 'R00007'"), 'changed', 'and arrives');
$odd->forget;
$sql->("SELECT jacksync.resync('summaries')");
$odd->sync('summaries');
is($details->('summaries'), 130, 'a resync asks for all');

# a comparison reads all details
$put->('summaries', 'R00090', 'unlisted', $odd->pms->record('summaries', 'R00090')->{updatedAt});
$odd->forget;
my $drift = sub { return $sql->("SELECT external_id, field, reason, pms_value, repaired FROM jacksync.reconcile('summaries', repair => $_[0])"); };
is($drift->('false'), 'R00090|name|missed_at_pms|"unlisted"|f', 'comparing finds what a detail says otherwise');
is($details->('summaries'), 130, 'all details are read for it');
is($drift->('true'), 'R00090|name|missed_at_pms|"unlisted"|t', 'and gives it to the rules');
is($sql->("SELECT name FROM summaries WHERE external_id = 'R00090'"), 'unlisted', 'which take it');
is($drift->('false'), '', 'then nothing differs');

# what is not there any more, and what the PMS refuses to show
$odd->stream('gone', { shape => 'ids' }, { record_path => '$[*]', primary_key => '$', detail => { path => '/odd/gone/{record.id}', record_path => '$.item' } });
$sql->("UPDATE jacksync.entity SET on_pms_delete = 'delete' WHERE entity = 'gone'");
$put->('gone', $_, "name $_", '2026-11-20T10:00:00Z') for qw(A B C);
$odd->sync('gone');
$odd->script('gone', { body => [ 'A', 'B', 'C', 'Z', '..' ] });
$odd->pms->faults({ kind => 'status', status => 404, match => { path => '/odd/gone/A' } }, { kind => 'status', status => 422, body => { message => 'not this one' }, match => { path => '/odd/gone/B' } });
$put->('gone', 'C', 'changed', '2026-11-20T11:00:00Z');
$run = $odd->sync('gone');
is("$run->{success}/$run->{errors}", 't/2', 'a detail that is refused is an error of the record');
is($sql->('SELECT string_agg(external_id || name, \' \' ORDER BY external_id) FROM gone'), 'Bname B Cchanged', 'one that is not there is deleted, the others go on');
like($sql->("SELECT error FROM jacksync.sync_error WHERE entity = 'gone' AND external_id = 'B'"), qr/422.*not this one/, 'the words of the PMS');
is($sql->("SELECT state FROM jacksync.sync_error WHERE entity = 'gone' AND external_id = '..'"), 'dead', 'an id that would lead elsewhere is not asked for');
$odd->pms->heal;
$sql->("UPDATE jacksync.detail SET next_attempt_at = now()");
$odd->sync('gone');
is($sql->("SELECT count(*) FROM jacksync.sync_error WHERE entity = 'gone' AND external_id = 'B' AND state <> 'resolved'"), 0, 'later it is there, and the error is over');

# batches
$odd->stream('batch', { shape => 'summaries', batch => 20 }, { paginator => { type => 'page_number', page_size => 100 },
	detail => { path => '/odd/batch/_batch', query => { ids => '{record.id_list}' }, batch_size => 20, record_path => '$.items[*].item', primary_key => '$.id' } });
$odd->fill('batch', count => 95, start => '2026-11-20T00:00:00Z');
is($odd->sync('batch')->{created}, 95, 'details in batches');
is($details->('batch'), 5, 'of twenty');
is($sql->("SELECT count(*) FROM batch WHERE name = 'name ' || substr(external_id, 2)::int"), 95, 'each is where it belongs');
$odd->fill('batch', count => 40, start => '2026-11-21T00:00:00Z');
$odd->script('batch', { body => { data => [ map { { id => $_, updatedAt => '2026-11-22T00:00:00Z' } } 'R00001', 'NONE', 'R00002' ] } });
$put->('batch', $_, 'changed', '2026-11-22T00:00:00Z') for 'R00001', 'R00002';
$run = $odd->sync('batch');
is("$run->{success}/$run->{updated}", 't/2', 'a batch that is refused is asked for one by one');

# everything fails: that is not the records' fault
$odd->stream('refused', { shape => 'ids' }, { record_path => '$[*]', primary_key => '$', detail => { path => '/odd/refused/{record.id}', record_path => '$.item' } });
$odd->fill('refused', count => 50, start => '2026-11-20T00:00:00Z');
$odd->pms->faults({ kind => 'html', match => { path => '/odd/refused/' } });
$run = $odd->sync('refused');
is($run->{success}, 'f', 'a login page in place of every detail');
like($run->{error}, qr/not valid JSON/, 'fails the run');
cmp_ok($details->('refused'), '<=', 11, 'soon');
$odd->pms->heal;

# killed in the midst: nothing is lost, and little is asked for again
$odd->stream('killed', { shape => 'summaries' }, { paginator => { type => 'page_number', page_size => 250 },
	detail => { path => '/odd/killed/{record.id}', record_path => '$.item' } });
$odd->fill('killed', count => 250, start => '2026-11-20T00:00:00Z');
$odd->pms->faults({ kind => 'hang', match => { path => '/odd/killed/R00230' } });
my $session = $odd->node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('killed');\n");
for (1 .. 300) { last if $details->('killed') >= 230; select undef, undef, undef, 0.1; }
is($odd->rows('killed'), 200, 'two hundred are here');
$odd->node->stop('immediate');
$odd->pms->heal;
$odd->node->start;
eval { $session->quit; };
$odd->forget;
is($odd->sync('killed')->{success}, 't', 'after a crash');
is($odd->rows('killed'), 250, 'all are here');
cmp_ok($details->('killed'), '<=', 50, 'and those that were here are not asked for again');

$odd->node->stop;
done_testing();
