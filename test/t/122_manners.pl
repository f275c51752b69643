# Manners: pauses that the PMS asks for, limits, back-off, the breaker; and
# one server's trouble is no other one's.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::Node;
use JackSync::Raw;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $raw = JackSync::Raw->start;
my $other = JackSync::Raw->start;
my $node = PostgreSQL::Test::Cluster->new('manners');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $empty = { body => { data => [] } };

$sql->("CREATE EXTENSION jacksync;
	CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $raw->url . "', timeout '5s');
	CREATE SERVER o FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $other->url . "', timeout '5s')");
for my $entity (qw(a b c d))
{
	my $server = $entity eq 'd' ? 'o' : 's';
	$sql->("CREATE TABLE $entity (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, room text);
		INSERT INTO jacksync.entity (entity, local_table) VALUES ('$entity', '$entity');
		INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path, poll_interval)
			VALUES ('$entity', '$server', '{\"path\": \"/$entity/next\"}', '\$.data[*]', NULL, '1h')");
}

sub sync
{
	my ($entity) = @_;
	my $start = time;
	my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('$entity')");
	my @row = split /\|/, $out, -1;
	return { success => $row[3], error => $row[11], seconds => time - $start, stderr => $err };
}

# N4: 429 in all its forms
$raw->script({ status => 429, headers => { 'Retry-After' => '1' } }, $empty);
my $run = sync('a');
is($run->{success}, 't', '429 is waited for');
like($run->{stderr}, qr/the PMS is busy, waiting/, 'and said');
my @log = @{ $raw->log };
cmp_ok($log[1][5] - $log[0][5], '>=', 0.95, 'as long as it was asked for');
for my $value ('rubbish', '-5', '', 'Wed, 01 Jan 2020 00:00:00 GMT')
{
	$raw->script({ status => 429, headers => { 'Retry-After' => $value } }, $empty);
	is(sync('a')->{success}, 't', "Retry-After: $value");
	cmp_ok((sub { $_[1][5] - $_[0][5] })->(@{ $raw->log }), '>=', 0.4, 'is a pause all the same');
}
$raw->script({ status => 429, headers => { 'Retry-After' => '1000000000' } }, $empty);
$run = sync('a');
is($run->{success}, 'f', 'a pause of 30 years is not waited for');
like($run->{error}, qr/HTTP 429/, 'but a failure');
is($sql->("SELECT blocked_until - now() BETWEEN '50 min' AND '61 min', state FROM jacksync.server_status WHERE server = 's'"), 't|busy', 'and taken for an hour');
is($sql->("SELECT next_due_at > now() + '50 min'::interval FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'a'"), 't', 'the stream waits for it');
$sql->("SELECT jacksync.sync_now()");
is($sql->("SELECT blocked_until IS NULL FROM jacksync.server_status WHERE server = 's'"), 't', 'sync_now() forgets it');

# response rules
$sql->(q{UPDATE jacksync.stream SET response_rules = '[{"status": 409, "action": "ignore"},
	{"status": 200, "predicate": "$.busy == true", "action": "rate_limited"},
	{"status": [404, 410], "predicate": "$.code == \"gone\"", "action": "retry"},
	{"predicate": "$.success == false", "action": "fail"}]' WHERE entity = 'a'});
$raw->script({ status => 409, body => 'not json' });
is(sync('a')->{success}, 't', 'a status that is to be ignored');
$raw->script({ body => { busy => JSON::PP::true() } }, $empty);
$run = sync('a');
is($run->{success} . scalar(@{ $raw->log }), 't2', 'a body that says to come again');
$raw->script({ body => { success => JSON::PP::false(), message => 'no such hotel', data => [] } });
like(sync('a')->{error}, qr/HTTP 200.*no such hotel/, 'success that is none');
$raw->script({ status => 404, body => { code => 'gone' } });
is(sync('a')->{success}, 'f', 'a rule by status and body');

# the rate limit: so many in any period
$sql->("ALTER SERVER s OPTIONS (ADD rate_limit '2/1s')");
$raw->script();
$node->safe_psql('postgres', join ';', map { "CALL jacksync.sync('$_')" } qw(b c b c b));
@log = map { $_->[5] } @{ $raw->log };
cmp_ok($log[2] - $log[0], '>=', 0.95, 'the third request waits for the window');
cmp_ok($log[4] - $log[2], '>=', 0.95, 'and the fifth');
$sql->("ALTER SERVER s OPTIONS (DROP rate_limit)");

# max_concurrency, over all streams of a server, in the worker
$sql->("ALTER SERVER s OPTIONS (ADD max_concurrency '1')");
$raw->script(map { { %$empty, delay => 0.4 } } 1 .. 3);
$sql->("SELECT jacksync.start_worker(); SELECT jacksync.sync_now()");
JackSync::Node::wait_for($node, "SELECT count(*) = 3 FROM jacksync.status
	WHERE server = 's' AND last_sync > now() - '1 min'::interval AND next_sync > now() + '1 min'::interval", 'three streams');
is($raw->seen->{most}, 1, 'one at a time');

# the breaker: five failures in a row, then the server is left alone, and probed
$sql->("ALTER SERVER s OPTIONS (DROP max_concurrency); UPDATE jacksync.stream SET poll_interval = '1 s'");
$raw->script({ status => 503, repeat => 1 });
JackSync::Node::wait_for($node, "SELECT state = 'open' FROM jacksync.server_status WHERE server = 's'", 'the breaker opens');
is($sql->("SELECT blocked_until > now() + '3 s' FROM jacksync.server_status WHERE server = 's'"), 't', 'for a while');
my $before = @{ $raw->log };
my $d = @{ $other->log };
sleep 3;
cmp_ok(scalar(@{ $raw->log }) - $before, '<=', 1, 'nobody asks meanwhile');
cmp_ok(scalar(@{ $other->log }), '>', $d, 'other servers are asked as ever');
is($sql->("SELECT status FROM jacksync.status WHERE server = 'o'"), 'connected', 'and well');
is($sql->("SELECT count(*) FROM jacksync.sync_run WHERE server = 's' AND error LIKE '%left alone%' AND NOT success") >= 0, 1, 'runs that it kept from asking');
# its end: one request, and all go on
$raw->script($empty);
$sql->("UPDATE jacksync.server_state SET blocked_until = now(); UPDATE jacksync.stream_state SET next_due_at = now(); SELECT jacksync.wake_worker()");
JackSync::Node::wait_for($node, "SELECT (SELECT state = 'ok' FROM jacksync.server_status WHERE server = 's')
	AND (SELECT count(*) = 3 FROM jacksync.status WHERE server = 's' AND status = 'connected')", 'one probe, and it is closed');

# refused credentials: one try in five minutes, one alert; the other hotel does not notice
$sql->("UPDATE jacksync.stream SET poll_interval = '1 s'");
$raw->script({ status => 401, repeat => 1 });
JackSync::Node::wait_for($node, "SELECT state = 'refused' FROM jacksync.server_status WHERE server = 's'", 'the PMS answers 401');
sleep 1;
$before = @{ $raw->log };
$d = @{ $other->log };
sleep 3;
is(scalar(@{ $raw->log }), $before, 'which is not tried again soon');
cmp_ok(scalar(@{ $other->log }), '>', $d, 'the other server goes on');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'credentials'"), 1, 'one alert');
like($sql->("SELECT status, message FROM jacksync.diagnose() WHERE check_name = 'connection'"),
	qr/^error\|The PMS does not accept the credentials, it is left alone until 2/, 'diagnose() says so');
is($sql->("SELECT max(failure_count) FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE server = 's'") <= 2, 1, 'and no failures without end');

# who mends the options need not say so
$raw->script($empty);
$sql->("ALTER SERVER s OPTIONS (ADD headers '{\"X-Mended\": \"1\"}')");
JackSync::Node::wait_for($node, "SELECT state = 'ok' FROM jacksync.server_status WHERE server = 's'", 'changed options are tried at once');

$node->stop;
done_testing();
