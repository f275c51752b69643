# What a PMS, or who stands between, can send: addresses that lead inside,
# redirects, links, and input that is made to break things (SEC-13, SEC-14,
# SEC-15, SEC-16, SEC-20 to SEC-27).  Each is an error in words, the worker
# lives, and other records are applied.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 0, guests => 3);
$pms->config({ auth => 'none', gzip => JSON::PP::false });
my $node = PostgreSQL::Test::Cluster->new('wire');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jacksync'\njacksync.databases = 'postgres'\ntimezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->('CREATE EXTENSION jacksync; CREATE TABLE guests (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE,
	name text, notes text, balance numeric, extra jsonb)');
$sql->("INSERT INTO jacksync.entity (entity, local_table) VALUES ('guests', 'guests');
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('guests', 'notes', 'merge');
	CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $pms->url . "', timeout '30s', connect_timeout '2s')");
my $stream = sub
{
	my ($paginator, $path) = @_;
	$path //= '/v1/guests';
	$sql->("DELETE FROM jacksync.stream; INSERT INTO jacksync.stream (entity, server, request, record_path, paginator, poll_interval) VALUES
		('guests', 's', '{\"path\": \"$path\"}', '\$.data[*]', '$paginator', '1 day')");
};
$stream->('{"type": "single_page"}');

# run() -> error of the run, or nothing
sub run
{
	$node->psql('postgres', "CALL jacksync.sync('guests')", stderr => \my $err);
	return $sql->("SELECT coalesce(error, '') FROM jacksync.sync_run WHERE kind = 'sync' AND completed IS NOT NULL ORDER BY run_id DESC LIMIT 1");
}
is(run(), '', 'a sync that works');

#
# Addresses
#
my $refused = qr/is not allowed.*plain http beyond loopback, or a private or special address/;
my @inside = ('http://169.254.169.254/latest/meta-data', 'https://169.254.169.254', 'https://[fe80::1]', 'https://10.0.0.1', 'https://172.16.0.1', 'https://172.31.255.255',
	'https://192.168.1.1', 'https://100.64.0.1', 'https://0.0.0.0', 'https://[::]', 'https://224.0.0.1', 'https://255.255.255.255', 'https://240.0.0.1',
	'https://[::ffff:10.0.0.1]', 'https://[::ffff:169.254.169.254]', 'https://[::ffff:0.0.0.0]', 'https://[::10.0.0.1]', 'https://[fd00:ec2::254]', 'https://[fc00::1]', 'https://[ff02::1]',
	'https://[fec0::1]', 'https://[64:ff9b::a9fe:a9fe]', 'https://[2002:a9fe:a9fe::1]',
	'https://167772161', 'https://0xA000001', 'https://012.0.0.1', 'https://10.1', 'https://0251.0376.0251.0376', 'https://0xa9fea9fe',
	'http://8.8.8.8', 'http://1.1.1.1:8080', 'http://[2001:db8::1]');
for my $url (@inside)
{
	$sql->("ALTER SERVER s OPTIONS (SET base_url '$url')");
	like(run(), $refused, "not to $url");
}
# addresses that the server allows, and others beside them
$sql->("ALTER SERVER s OPTIONS (SET base_url 'https://169.254.169.254', ADD allow_private_address 'true')");
like(run(), $refused, 'link-local is refused even where private addresses are allowed');
$sql->("ALTER SERVER s OPTIONS (SET base_url 'https://[::ffff:169.254.169.254]')");
like(run(), $refused, 'also in its other form');
$sql->("ALTER SERVER s OPTIONS (DROP allow_private_address)");
for my $url ('file:///etc/passwd', 'ftp://example.com', 'gopher://127.0.0.1:25/x', 'dict://127.0.0.1', 'ldap://127.0.0.1', 'scp://x', 'https://user:pw@example.com', 'javascript:1', '//x')
{
	my $err;
	isnt($node->psql('postgres', "ALTER SERVER s OPTIONS (SET base_url '$url')", stderr => \$err), 0, "no server at $url");
}
# places where an address can stand beside base_url
$sql->("ALTER SERVER s OPTIONS (SET base_url '" . $pms->url . "', ADD auth 'oauth2_client_credentials', ADD token_url 'https://10.1.2.3/token');
	CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (client_id 'x', client_secret 'y')");
like(run(), qr/not allowed/, 'nor does token_url lead inside');
$sql->("ALTER SERVER s OPTIONS (DROP auth, DROP token_url); DROP USER MAPPING FOR CURRENT_USER SERVER s");
$sql->("CREATE SERVER hook FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://192.168.0.1', timeout '3s', connect_timeout '1s');
	CREATE SERVER relay FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtps://10.0.0.1', timeout '3s', connect_timeout '1s');
	INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients) VALUES ('h', 'webhook', 'hook', NULL, '{}'),
		('s', 'slack', 'hook', NULL, '{}'), ('m', 'email', 'relay', 'a\@b.example', '{c\@d.example}');
	SELECT jacksync.test_channel(channel) FROM jacksync.alert_channel");
JackSync::Node::wait_for($node, "SELECT count(*) = 3 AND bool_and(last_error ~ 'not allowed') FROM jacksync.alert_delivery", 'nor do alerts');
$sql->('DELETE FROM jacksync.alert_channel');

# redirects and links
for my $to ('https://evil.example.com/', 'http://169.254.169.254/', 'file:///etc/passwd', '/v1/guests', $pms->url . '/v1/guests')
{
	$pms->faults({ kind => 'redirect', location => $to });
	like(run(), qr/redirect/, "a redirect to $to is not followed");
	$pms->heal;
}
$stream->('{"type": "next_url", "next_url_path": "$.next"}');
for my $to ('https://evil.example.com/v1', 'http://169.254.169.254/', 'http://127.0.0.1:1/', '//evil.example.com/', 'http://localhost:' . $pms->port . '/',
	'https://127.0.0.1:' . $pms->port . '/', 'file:///etc/passwd', 'http://127.0.0.1:' . $pms->port . '@evil.example.com/', 'http://evil.example.com#127.0.0.1',
	'\\\\\\\\evil.example.com\\\\x', 'http://[::ffff:127.0.0.1]:' . $pms->port . '/')
{
	$pms->faults({ kind => 'raw', count => 1, body => qq({"data": [{"id": "L", "name": "link"}], "next": "$to"}) });
	like(run(), qr/\S/, "a next page at $to is refused");
	is(scalar(grep { $_->{path} !~ m,^/v1/guests, } @{ $pms->log }), 0, 'and nothing else was asked');
	$pms->heal;
}
$stream->('{"type": "single_page"}');
is(run(), '', 'it works again');

#
# Input
#
my $n = 0;
my $page = sub
{
	my ($body, $pattern, $what) = @_;
	$n++;
	$pms->faults({ kind => 'raw', body => $body });
	like(run(), $pattern, $what);
	$pms->heal;
};
$page->('[' x 100_000, qr/nested too deeply|not valid/, 'deep nesting of a page');
$page->('{"data": [' . '{"a":' x 5000 . '1' . '}' x 5000 . ']}', qr/nested too deeply/, 'and of records');
$page->("\xFF\xFE\x00{", qr/not valid JSON/, 'another encoding');
$page->("{\"data\": [\x00]}", qr/not valid JSON/, 'a NUL');
$page->('{"data": []} x', qr/not valid JSON/, 'something behind the end');
$page->('{"data": [NaN]}', qr/not valid JSON/, 'no number');
$pms->faults({ kind => 'gzip_bomb', megabytes => 100 });
like(run(), qr/too large/, 'a gzip bomb');
$pms->faults({ kind => 'big', megabytes => 40 });
like(run(), qr/too large/, 'a large answer');
$pms->heal;

# spoilt records beside good ones: id, JSON of the record, SQLSTATE of its error ('': it is applied)
my @records = (
	[ 'number1', '"balance": 1e131071', qr/^(JS007|22003)$/ ],
	[ 'number2', '"balance": ' . '9' x 100_000, qr/^(JS007|22003)$/ ],
	[ 'number3', '"balance": 1e-99999999999', qr/^(JS007|22003)$/ ],
	[ 'number4', '"extra": [' . join(',', ('1e131071') x 1000) . ']', qr/^(JS007|22003)$/ ],
	[ 'keys', '"extra": {' . join(',', map { qq("k$_": 1) } 1 .. 100_000) . '}', qr/^(|JS007|54000)$/ ],
	[ 'twice', '"name": "a", "name": "b"', qr/^JS007$/ ],
	[ 'deeptwice', '"extra": {"a": [{"b": 1, "b": 2}]}', qr/^JS007$/ ],
	[ 'nul', '"name": "a\u0000b"', qr/^JS007$/ ],
	[ 'surrogate', '"name": "\ud800"', qr/^JS007$/ ],
	[ 'surrogate2', '"name": "\udc00\ud800"', qr/^JS007$/ ],
	[ 'utf8', "\"name\": \"\xC3\x28\"", qr/^JS007$/ ],
	[ 'overlong', "\"name\": \"\xC0\xAF\"", qr/^JS007$/ ],
	[ 'utf8surrogate', "\"name\": \"\xED\xA0\x80\"", qr/^JS007$/ ],
	[ 'longkey', '"' . 'k' x 65_536 . '": 1', qr/^(|JS007)$/ ],
	[ 'longtext', '"name": "' . 'x' x 2_000_000 . '"', qr/^(JS007|)$/ ],
	[ 'deep', '"extra": ' . '[' x 60 . ']' x 60, qr/^(|JS007)$/ ],
	[ 'type', '"name": {"a": 1}, "balance": "much"', qr/^22P02$/ ],
	[ 'sql', q{"name": "'; DROP TABLE guests; --", "notes": "$1 %s \\\\ \\""}, qr/^$/ ],
	[ 'html', '"name": "<script>alert(1)</script><img src=x onerror=alert(1)>"', qr/^$/ ],
	[ '../../x', '"name": "path"', qr/^$/ ],
	[ 'a\r\nHost: evil', '"name": "lines"', qr/^$/ ],
);
for my $record (@records)
{
	my ($id, $json, $expected) = @$record;
	my $good = 'GOOD-' . ++$n;
	$pms->faults({ kind => 'raw', body => qq({"data": [{"id": "A$good", "name": "before"}, {"id": "$id", $json}, {"id": "$good", "name": "after"}]}) });
	run();
	$pms->heal;
	my $state = $sql->(sprintf "SELECT coalesce((SELECT sqlstate FROM jacksync.sync_error WHERE external_id = E'%s' AND state <> 'resolved' ORDER BY error_id DESC LIMIT 1), '')", $id);
	like($state, $expected, 'a record with ' . ($id =~ s/\\/./gr));
	is($sql->("SELECT count(*) FROM guests WHERE external_id LIKE '%$good'"), 2, 'and those beside it are applied');
}
is($sql->("SELECT count(*) FROM guests WHERE name LIKE '%DROP TABLE%'"), 1, 'SQL is a text');

# a hostile id: the path that is asked for is that of one record
$sql->("UPDATE jacksync.stream SET push = '{\"read\": {\"path\": \"/v1/guests/{record.id}\"}, \"update\": {\"method\": \"PATCH\", \"path\": \"/v1/guests/{record.id}\"}}'");
$sql->("UPDATE guests SET notes = 'x' WHERE external_id IN ('../../x', E'a\\r\\nHost: evil')");
$node->psql('postgres', "CALL jacksync.push('guests')");
is(scalar(grep { $_->{path} !~ m,^/v1/guests, || ($_->{headers}{Host} // '') =~ /evil/ } @{ $pms->log }), 0, 'a hostile id leads nowhere else');
cmp_ok(scalar(grep { $_->{path} =~ m,%2F, || $_->{path} =~ m,%0D%0A,i } @{ $pms->log }), '>', 0, 'but is asked for, encoded');

# the page for people
my $page_html = $sql->('SELECT jacksync.dashboard_html()');
unlike($page_html, qr/<script>alert|<img src=x/, 'HTML of the PMS is text on the page');
$pms->faults({ kind => 'status', status => 500, body => { message => '<script>alert(2)</script> <!channel> <http://evil|click>' } });
run();
$pms->heal;
unlike($sql->('SELECT jacksync.dashboard_html()'), qr/<script>alert/, 'also what it says in errors');

unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP|server process .* was terminated/, 'nothing crashed');
is(run(), '', 'and it works at the end');
$node->stop;
done_testing();
