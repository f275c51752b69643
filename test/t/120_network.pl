# What comes from the network, or does not: every answer over a real socket
# ends as the right failure, in time, with nothing taken and no retry storm.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::Node;
use JackSync::Raw;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $raw = JackSync::Raw->start;
my $node = PostgreSQL::Test::Cluster->new('network');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");

# a name that is never resolved: getaddrinfo() that hangs
my $shim = PostgreSQL::Test::Utils::tempdir() . '/hang.so';
my $have_shim = open(my $cc, '|-', "gcc -shared -fPIC -o $shim -x c - -ldl 2>/dev/null") ? 1 : 0;
print {$cc} <<'C' if $have_shim;
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **res)
{
	int (*real) (const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");

	if (node != NULL && strstr(node, "hang.example") != NULL)
		sleep(20);
	return real(node, service, hints, res);
}
C
$have_shim = close $cc if $have_shim;
{
	local $ENV{LD_PRELOAD} = $have_shim ? $shim : '';
	$node->start;
}
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };

$sql->(<<'SQL');
CREATE EXTENSION jacksync;
CREATE TABLE stay (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, room text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stay', 'stay');
SQL

# one stream, its server and path changed for every case
sub point
{
	my ($url, $path, $options) = @_;
	$sql->("DROP SERVER IF EXISTS s CASCADE; CREATE SERVER s FOREIGN DATA WRAPPER jacksync
		OPTIONS (base_url '$url', timeout '3s', connect_timeout '2s'" . ($options ? ", $options" : '') . ");
		DELETE FROM jacksync.stream;
		INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path)
			VALUES ('stay', 's', '{\"path\": \"$path\"}', '\$.data[*]', NULL)");
}

sub sync
{
	my $start = time;
	my ($status, $out, $err) = $node->psql('postgres', 'CALL jacksync.sync()');
	my @row = split /\|/, $out, -1;
	return { success => $row[3], error => $row[11], seconds => time - $start, stderr => $err };
}

sub fails
{
	my ($path, $like, $what, $options) = @_;
	point($raw->url, "/x/$path", $options);
	my $run = sync();
	is($run->{success}, 'f', "$what: a failure");
	like($run->{error}, $like, "$what: in words");
	cmp_ok($run->{seconds}, '<', 20, "$what: in time");
	is($sql->("SELECT watermark IS NULL AND last_sync_at IS NULL FROM jacksync.stream_state"), 't', "$what: nothing moved");
}

# N12: those that are slow, or never end
fails('slow-body', qr/did not answer in time/, 'one byte now and then');
fails('slow-head', qr/did not answer in time/, 'a head that never ends');
fails('continue', qr/did not answer in time|too large|makes no sense|Too many/i, '100 Continue for ever');
fails('hang', qr/did not answer in time/, 'no answer');

# N13, N14: what is broken
fails('wrong-length', qr/connection to the PMS broke/, 'a body that is too short');
fails('chunk-garbage', qr/makes no sense|broke/, 'chunks that are none');
fails('html', qr/not valid JSON.*it begins "<html>Please log in/, 'a login page');
fails('ndjson', qr/not valid JSON/, 'several documents');
fails('not-http', qr/makes no sense|broke/, 'another protocol');

# N17: compression
fails('double-gzip', qr/not valid JSON/, 'gzip in gzip');
fails('gzip-garbage', qr/makes no sense/, 'gzip that is none');
fails('gzip-bomb', qr/too large.*max_response_size/, 'a bomb', "max_response_size '1MB'");
point($raw->url, '/x/deflate');
is(sync()->{success}, 't', 'deflate is understood');
is($sql->("SELECT external_id FROM stay"), 'deflated', 'and taken');
$sql->("DELETE FROM stay; DELETE FROM jacksync.link");

# N18: heads
fails('many-headers', qr/too large.*headers|Too large response headers/i, '100 000 headers');
fails('long-header', qr/too large|Too large|makes no sense/i, 'one header of 5 MB');

# N19: redirects are not followed, and said where to
fails('redirect', qr/unexpected redirect to host "elsewhere\.example".*not followed/, 'another host');
unlike(sync()->{error}, qr/secret/, 'without its query');
fails('redirect-file', qr/unexpected redirect/, 'a file');
fails('redirect-nowhere', qr/unexpected redirect to host \(none named\)/, 'nowhere');

# N1: nobody there
point('http://127.0.0.1:1', '/x');
like(sync()->{error}, qr/could not connect to the PMS/, 'nobody listens');
point('https://nowhere.invalid', '/x');
like(sync()->{error}, qr/could not resolve the host name/, 'no such name');
point('http://10.255.255.1', '/x');
like(sync()->{error}, qr/address of the PMS is not allowed/, 'an address inside');
point('https://169.254.169.254', '/x', "allow_private_address 'true'");
like(sync()->{error}, qr/address of the PMS is not allowed/, 'metadata of a cloud, never');
SKIP:
{
	skip 'no gcc', 3 unless $have_shim;
	point('https://hang.example', '/x');
	my $run = sync();
	like($run->{error}, qr/in time|resolve/, 'a name server that hangs is given up');
	cmp_ok($run->{seconds}, '<', 12, 'when its time is over');
	$sql->("ALTER SERVER s OPTIONS (SET timeout '60s', SET connect_timeout '60s')");
	my $start = time;
	$node->psql('postgres', "SET statement_timeout = '1s'; CALL jacksync.sync()");
	cmp_ok(time - $start, '<', 8, 'and can be cancelled');
}

# connections: kept for reads, one per credential, never shared between them
point($raw->url, '/next');
$sql->("CREATE TABLE room (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE);
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('room', 'room');
	CREATE SERVER t FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $raw->url . "', auth 'bearer');
	CREATE USER MAPPING FOR CURRENT_USER SERVER t OPTIONS (token 'other hotel');
	INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path, paginator) VALUES
		('room', 't', '{\"path\": \"/next\"}', '\$.data[*]', NULL, '{\"type\": \"single_page\"}')");
$raw->script();
$node->safe_psql('postgres', "CALL jacksync.sync('stay'); CALL jacksync.sync('room'); CALL jacksync.sync('stay'); CALL jacksync.sync('room')");
my @log = @{ $raw->log };
is(scalar(@log), 4, 'four requests in a session');
my %by_connection;
push @{ $by_connection{ $_->[0] } }, $_->[3]{Authorization} // 'none' for @log;
is(scalar(keys %by_connection), 2, 'over two connections');
is_deeply([ sort map { join ',', @$_ } values %by_connection ], [ 'Bearer other hotel,Bearer other hotel', 'none,none' ],
	'each of which belongs to one credential');
$sql->("ALTER USER MAPPING FOR CURRENT_USER SERVER t OPTIONS (SET token 'new')");

# a connection that broke: a read is repeated, a write is not
$raw->script({}, { close => 1 }, {});
$node->safe_psql('postgres', "CALL jacksync.sync('stay'); CALL jacksync.sync('stay')");
is(scalar(@{ $raw->log }), 3, 'a read on a connection that breaks is repeated');
$sql->("UPDATE jacksync.stream SET request = '{\"path\": \"/next\", \"method\": \"POST\", \"body\": {\"a\": 1}}' WHERE entity = 'stay'");
$raw->script({}, { close => 1 }, {});
$node->safe_psql('postgres', "CALL jacksync.sync('stay'); CALL jacksync.sync('stay')");
@log = @{ $raw->log };
is("$log[0][1] $log[0][4]", 'POST {"a": 1}', 'POST that only reads');
is(scalar(@log), 3, 'is repeated as well');

# one that writes is not, though its connection was used before: its fate is unknown
$sql->(q{UPDATE jacksync.stream SET request = '{"path": "/next"}',
		push = '{"read": {"path": "/next"}, "update": {"method": "PATCH", "path": "/next"}}' WHERE entity = 'stay';
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stay', 'room', 'latest_wins')});
my $record = { id => 'A', room => '1' };
$raw->script({ body => { data => [$record] } });
$node->safe_psql('postgres', "CALL jacksync.sync('stay')");
$sql->("UPDATE stay SET room = '2'");
$raw->script({ body => { data => [$record] } }, { body => $record }, { close => 1 }, {}, {});
$node->psql('postgres', "CALL jacksync.sync('stay')");
@log = @{ $raw->log };
is(join(' ', map { $_->[1] } @log), 'GET GET PATCH', 'a write on a connection that breaks is not repeated');
is($log[2][0], $log[1][0], 'though the connection was used before');
is($sql->("SELECT state FROM jacksync.intent ORDER BY intent_id DESC LIMIT 1"), 'unknown', 'whether it was taken is not known');

# nor with digest, though the challenge came over that connection, and the body must be sent twice for it
$sql->(q{ALTER SERVER s OPTIONS (ADD auth 'digest'); CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (username 'jack', password 'sesame');
	UPDATE jacksync.stream SET request = '{"path": "/list"}', push = '{"read": {"path": "/read"}, "update": {"method": "PATCH", "path": "/write"}}' WHERE entity = 'stay';
	UPDATE stay SET room = '3'});
my %challenge = (status => 401, headers => { 'WWW-Authenticate' => 'Digest realm="r", nonce="abc", qop="auth", algorithm=MD5' });
$raw->script((map { ({ %challenge, match => '/list' }, { match => '/list', body => { data => [$record] } },
	{ %challenge, match => '/read' }, { match => '/read', body => $record }) } 1 .. 2), { %challenge, match => '/write' }, { match => '/write', close => 1 });
$node->psql('postgres', "CALL jacksync.sync('stay')");
is(join(' ', map { $_->[1] . ($_->[3]{Authorization} ? ' with digest' : '') } grep { $_->[2] eq '/write' } @{ $raw->log }), 'PATCH PATCH with digest', 'a write with digest is not repeated');

$node->stop;
done_testing();
