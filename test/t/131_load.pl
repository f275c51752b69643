# A large initial load whose ids come in no order: it holds records, and writes
# them in the order of their ids.  (Here "large" begins at 128 records.)
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::Node;
use JackSync::Odd;
use Test::More;

my $odd = JackSync::Odd->start('load', conf => "jacksync.load_memory = 64kB\n");
my $node = $odd->node;
my $sql = sub { return $odd->sql($_[0]); };
my $pages = { paginator => { type => 'page_number', page_size => 20 } };
my $listed = sub {
	my ($entity, $columns, %how) = @_;
	$odd->stream($entity, {}, { %$pages, %{ $columns // {} } });
	$odd->fill($entity, count => 1000, start => '2026-08-01T00:00:00Z', every => 3600, %how);
	$odd->forget;
};
# of the rows but the first ones, how many follow the one before in the order of ids
my $in_order = sub {
	return $sql->("SELECT count(*) FROM (SELECT external_id > lag(external_id) OVER (ORDER BY id) up, row_number() OVER (ORDER BY id) n FROM $_[0]) s WHERE up AND n > 200");
};
my $complete = sub {
	return $sql->("SELECT count(*) || ' ' || count(DISTINCT name) || ' ' || bool_and(external_id = 'R' || to_char((substr(name, 6)::int - 1) * 617 % 1000 + 1, 'FM00000')) FROM $_[0]");
};

$listed->('mixed', undef, stride => 617);
my $run = $odd->sync('mixed');
is("$run->{success} $run->{processed} $run->{created} $run->{errors}", 't 1000 1000 0', 'all records are loaded');
is($complete->('mixed'), '1000 1000 true', 'each as it is');
cmp_ok($in_order->('mixed'), '>', 750, 'nearly all in the order of their ids');
$listed->('as_listed', undef, stride => 617);
$node->psql('postgres', "SET jacksync.load_memory = 0;\nCALL jacksync.sync('as_listed')");
is($complete->('as_listed'), '1000 1000 true', 'without memory for it as well');
cmp_ok($in_order->('as_listed'), '<', 400, 'in the order of the list');

# windows: nothing of one is held into the next
$listed->('windows', { initial_value => '2026-08-01 00:00:00+00', step => '20 days',
	request => { path => '/odd/windows', query => { since => '{since}', until => '{until}', page => '{page}', size => '{limit}' } } }, stride => 617);
$run = $odd->sync('windows');
is("$run->{success} $run->{created}", 't 1000', 'in windows');
is($complete->('windows'), '1000 1000 true', 'each as it is');

# the PMS fails: what came is applied, and the rest begins at that page
$listed->('cut_off', undef, stride => 617);
$odd->pms->faults({ kind => 'status', status => 500, match => { path => '/odd/cut_off', query => '\bpage=31\b' } });
$run = $odd->sync('cut_off');
is("$run->{success} $run->{processed} " . $odd->rows('cut_off'), 'f 600 600', 'a load that is cut off has applied what came');
$odd->pms->heal;
$odd->forget;
$run = $odd->sync('cut_off');
is("$run->{success} $run->{created} " . $complete->('cut_off'), 't 400 1000 1000 true', 'the rest');
is(($odd->queries('cut_off'))[0]{page}, 31, 'begins where it was');

# the process dies: what it held is read again
$listed->('killed', undef, stride => 617);
$odd->pms->faults({ kind => 'hold', match => { path => '/odd/killed', query => '\bpage=31\b' } });
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_until(qr/started/, "\\echo started\nCALL jacksync.sync('killed');\n");
JackSync::Node::wait_for($node, "SELECT count(*) > 300 FROM killed", 'a load is under way');
for (1 .. 100) { last if grep { $_->{page} == 31 } $odd->queries('killed'); select undef, undef, undef, .05; }
my $before = -1;
for (1 .. 100) { my $now = $odd->rows('killed'); last if $now == $before; $before = $now; select undef, undef, undef, .2; }
cmp_ok($before, '<', 600, 'some records of what was read are held');
$sql->("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL jacksync.sync(''killed'')%'");
JackSync::Node::wait_for($node, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL jacksync.sync(''killed'')%'", 'it is killed');
eval { $session->{run}->finish };
$odd->pms->heal;
$odd->forget;
$run = $odd->sync('killed');
is("$run->{success} $run->{errors} " . $complete->('killed'), 't 0 1000 1000 true', 'nothing is lost');
my $first = ($odd->queries('killed'))[0]{page};
ok($first > 1 && $first < 31, "and it began at a page that was not applied as a whole ($first)");

# versions, deletes, records that cannot be stored, and a member that is new,
# among what is held: as without
my $spoilt = sub {
	my ($entity, $memory) = @_;
	my @answers;
	foreach my $page (0 .. 30)
	{
		my @records = map { my $n = $page * 20 + $_; { id => sprintf('R%05d', $n * 617 % 1000), name => "name $n", updatedAt => sprintf('2026-08-01T10:%02d:%02dZ', $page, $_) } } 0 .. ($page < 30 ? 19 : 4);
		push @records, { %{ $answers[19]{body}{data}[3] }, name => 'newer', updatedAt => '2026-08-02T00:00:00Z' } if $page == 20;
		push @records, { %{ $answers[19]{body}{data}[4] }, name => 'older', updatedAt => '2026-07-01T00:00:00Z' } if $page == 20;
		push @records, { %{ $answers[21]{body}{data}[0] }, deleted => JSON::PP::true, updatedAt => '2026-08-02T00:00:00Z' } if $page == 22;
		push @records, { id => 'R99999', name => 'never here', deleted => JSON::PP::true, updatedAt => '2026-08-02T00:00:00Z' } if $page == 22;
		push @records, { id => 'R00001x', name => "a\0b", updatedAt => '2026-08-02T00:00:00Z' } if $page == 23;
		push @records, { name => 'has no id', updatedAt => '2026-08-02T00:00:00Z' } if $page == 24;
		push @records, { id => 'R00001y', name => 'no time', updatedAt => 'who knows' } if $page == 25;
		$records[7]{room} = 'sea view' if $page > 25 && $page < 30;
		push @answers, { body => { data => \@records } };
	}
	$odd->stream($entity, {}, { %$pages, deleted_path => '$.deleted == true' });
	$odd->script($entity, @answers);
	$odd->node->psql('postgres', "SET jacksync.load_memory = '$memory';\nCALL jacksync.sync('$entity')");
	return $sql->("SELECT count(*) || ' ' || md5(string_agg(concat_ws(',', external_id, name, room, updated_at), ' ' ORDER BY external_id COLLATE \"C\")) FROM $entity") . ' ' .
		$sql->("SELECT string_agg(coalesce(external_id, '-') || ' ' || error, '; ' ORDER BY external_id, error) FROM jacksync.sync_error WHERE entity = '$entity'") . ' ' .
		$sql->("SELECT concat_ws(' ', success, records_processed, created, updated, unchanged, errors) FROM jacksync.sync_run WHERE entity = '$entity' ORDER BY run_id LIMIT 1");
};
my $plain = $spoilt->('spoilt', '0');
is($spoilt->('spoilt_held', '64kB'), $plain, 'versions, deletes, bad records and new members: as without');
like($plain, qr/^605 \S+ R00001x record cannot.*R00001y invalid.*- record has no id t \d+ 605 2 \d+ 3$/, 'and that is right');
is($sql->(q{SELECT string_agg(name, ' ' ORDER BY name) FROM spoilt_held WHERE name IN ('newer', 'older')}), 'newer', 'the newer version counts');
is($sql->(q{SELECT count(*) FROM spoilt_held WHERE room = 'sea view'}), 4, 'a member that comes late is taken');

$odd->pms->stop;
$node->stop;
done_testing();
