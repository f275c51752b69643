# Credentials and tokens over real sockets: every kind of authentication, one
# refresher, rotation, refusals; and no secret anywhere it can be read.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use IPC::Run qw(start);
use JackSync::Raw;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $raw = JackSync::Raw->start;
my $url = $raw->url;
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('credentials');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_min_messages = debug5\nlog_statement = all\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $empty = { body => { data => [] } };

$sql->(<<'SQL');
CREATE EXTENSION jacksync;
CREATE TABLE stay (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, room text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stay', 'stay');
SQL

# secrets stand in files, so that no statement has one
sub secret
{
	my ($name, $value) = @_;
	open my $file, '>', "$dir/$name" or die;
	print {$file} "$value\n";
	close $file;
	return "$name 'file:$dir/$name'";
}

sub server
{
	my ($options, @secrets) = @_;
	$sql->("DROP SERVER IF EXISTS s CASCADE; DELETE FROM jacksync.stream; DELETE FROM jacksync.token;
		CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '$url/api', timeout '5s', $options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (" . join(', ', @secrets) . ");
		INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path)
			VALUES ('stay', 's', '{\"path\": \"/next\", \"query\": {\"a\": \"1\"}}', '\$.data[*]', NULL)");
}

sub sync
{
	my ($status, $out, $err) = $node->psql('postgres', 'CALL jacksync.sync()');
	my @row = split /\|/, $out, -1;
	return { success => $row[3], error => $row[11], stderr => $err };
}

# keys and passwords
server("auth 'bearer'", secret('token', 'JKSECRET-bearer'));
$raw->script($empty);
is(sync()->{success}, 't', 'bearer');
is($raw->log->[0][3]{Authorization}, 'Bearer JKSECRET-bearer', 'is sent as it is in the file');
server("auth 'basic', headers '{\"x-app-key\": \"{secret.app}\"}'", secret('username', 'jack'), secret('password', ''), secret('secret_app', 'JKSECRET-app'));
$raw->script($empty);
sync();
is($raw->log->[0][3]{Authorization}, 'Basic amFjazo=', 'basic, with an empty password');
is($raw->log->[0][3]{'x-app-key'}, 'JKSECRET-app', 'headers of the server');
server("auth 'api_key', api_key_name 'X-Key'", secret('api_key', 'JKSECRET-key+/ä'));
like(sync()->{error}, qr/credential for header "X-Key" has characters that cannot be sent/, 'a key that no header can take');
server("auth 'api_key', api_key_name 'key', api_key_in 'query'", secret('api_key', 'JKSECRET-k&+'));
$raw->script($empty);
sync();
is($raw->log->[0][2], '/api/next?a=1&key=JKSECRET-k%26%2B', 'a key in the query is encoded');
server("auth 'digest'", secret('username', 'jack'), secret('password', 'JKSECRET-digest'));
$raw->script({ status => 401, headers => { 'WWW-Authenticate' => 'Digest realm="r", nonce="abc", qop="auth", algorithm=MD5' } }, $empty);
is(sync()->{success}, 't', 'digest');
like($raw->log->[1][3]{Authorization}, qr/^Digest username="jack".*response="[0-9a-f]{32}"/, 'by libcurl');

# no credential, no mapping
server("auth 'bearer'", secret('api_key', 'JKSECRET-wrong'));
like(sync()->{error}, qr/user mapping of server "s" has no option "token"/, 'a credential that is missing');
$sql->("DROP USER MAPPING FOR CURRENT_USER SERVER s; CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (" . secret('token', 'JKSECRET-public') . ")");
$raw->script($empty);
sync();
is($raw->log->[0][3]{Authorization}, 'Bearer JKSECRET-public', 'the mapping of PUBLIC serves as well');

# client credentials: one token for all, asked for with the headers of the server
my $cc = "auth 'oauth2_client_credentials', token_url '$url/idp/next', scope 'a b'";
server("$cc, headers '{\"x-app-key\": \"{secret.app}\"}'", secret('client_id', 'jack'), secret('client_secret', 'JKSECRET-client'), secret('secret_app', 'JKSECRET-app'));
$raw->script({ body => { access_token => 'JKSECRET-t1', expires_in => 3600 } }, $empty, $empty);
my $first = sync();
is($first->{success}, "t", "client credentials") or diag($first->{error});
sync();
my @log = @{ $raw->log };
is(join(' ', map { $_->[2] } @log), '/idp/next /api/next?a=1 /api/next?a=1', 'one token for two runs');
is($log[0][3]{'x-app-key'}, 'JKSECRET-app', 'the headers of the server go there, too');
is($log[0][4], 'grant_type=client_credentials&scope=a%20b', 'as RFC 6749 says');
is($log[0][3]{Authorization}, 'Basic amFjazpKS1NFQ1JFVC1jbGllbnQ=', 'with the client in a header');
is($log[2][3]{Authorization}, 'Bearer JKSECRET-t1', 'the token is used');
$sql->("ALTER SERVER s OPTIONS (ADD rate_limit '100/1s')");
$raw->script($empty);
sync();
is(scalar(@{ $raw->log }), 1, 'an option that has nothing to do with it keeps the token');

# 401: once with a new one
$sql->("UPDATE jacksync.token SET obtained_at = obtained_at - '1 min'::interval");
$raw->script({ status => 401 }, { body => { access_token => 'JKSECRET-t2' } }, $empty);
is(sync()->{success}, 't', '401 in between');
is($raw->log->[2][3]{Authorization}, 'Bearer JKSECRET-t2', 'is tried once more with a new token');
# a token that is known a second later only
$raw->script({ status => 401 }, $empty);
is(sync()->{success}, 't', 'a new token that is not known yet');
is(scalar(@{ $raw->log }), 2, 'is waited for, not replaced');
# whatever is given out is refused
$raw->script({ status => 401, match => '/api/', repeat => 1 }, map { { body => { access_token => "JKSECRET-bad$_" }, match => '/idp/' } } 1 .. 9);
for (1 .. 5)
{
	$sql->("UPDATE jacksync.token SET obtained_at = obtained_at - '4 s'::interval");
	sync();
}
cmp_ok(scalar(grep { $_->[2] =~ /idp/ } @{ $raw->log }), '<=', 2, 'a PMS that refuses its own tokens is not asked for more and more');
is($sql->("SELECT state FROM jacksync.server_status WHERE server = 's'"), 'refused', 'its state is known');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'credentials' AND resolved_at IS NULL"), 1, 'people are told once');
$sql->("SELECT jacksync.sync_now(); DELETE FROM jacksync.token");
$raw->script({ body => { access_token => 'JKSECRET-t3' } }, $empty);
is(sync()->{success}, 't', 'when it is mended');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'credentials' AND resolved_at IS NULL"), 0, 'that is over');

# the endpoint refuses, or is down
$sql->("DELETE FROM jacksync.token");
$raw->script(map { { status => 400, body => { error => 'invalid_client', error_description => 'unknown JKSECRET-client' } } } 1 .. 9);
like(sync()->{error}, qr/could not get an access token: the token endpoint answered HTTP 400: invalid_client: unknown \*\*\*/, 'its words, without secrets');
sync() for 1 .. 5;
cmp_ok(scalar(@{ $raw->log }), '<=', 3, 'who refuses is not asked again and again');
is($sql->("SELECT next_token_at > now() + '4 min'::interval FROM jacksync.server_status"), 't', 'but every five minutes');
secret('client_secret', 'JKSECRET-other');
$raw->script({ body => { access_token => 'JKSECRET-t4' } }, $empty);
is(sync()->{success}, 't', 'new credentials are tried at once');

# two at once: one refresher
$sql->("DELETE FROM jacksync.token; CREATE TABLE room (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text);
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('room', 'room');
	INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path) VALUES ('room', 's', '{\"path\": \"/next\"}', '\$.data[*]', NULL)");
$raw->script({ delay => 1, body => { access_token => 'JKSECRET-t5' } }, $empty, $empty);
my @sessions = map { start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "CALL jacksync.sync('$_')" ], '>', \my $out, '2>', \my $err) } qw(stay room);
$_->finish for @sessions;
is(scalar(grep { $_->[2] =~ /idp/ } @{ $raw->log }), 1, 'two sessions, one token');
is(scalar(@{ $raw->log }), 3, 'that both use');
$sql->("DELETE FROM jacksync.entity WHERE entity = 'room'");

# who gave up in the midst of it leaves nothing behind
$sql->("DELETE FROM jacksync.token");
$raw->script({ delay => 4, body => { access_token => 'JKSECRET-late' } }, { body => { access_token => 'JKSECRET-t6' } }, $empty);
$node->psql('postgres', "SET statement_timeout = '1s'; CALL jacksync.sync()");
is(sync()->{success}, 't', 'a session that was cancelled does not hold up the next one');
is($raw->log->[-1][3]{Authorization}, 'Bearer JKSECRET-t6', 'which gets its own token');

# rotation of refresh tokens
server("auth 'oauth2_refresh_token', token_url '$url/idp/next', token_endpoint_auth_method 'client_secret_post'",
	secret('client_id', 'jack'), secret('client_secret', 'JKSECRET-client'), secret('refresh_token', 'JKSECRET-r0'));
$raw->script({ body => { access_token => 'JKSECRET-a1', expires_in => 1, refresh_token => 'JKSECRET-r1' } }, $empty,
	{ body => { access_token => 'JKSECRET-a2', expires_in => 1, refresh_token => 'JKSECRET-r2' } }, $empty);
sync();
sleep 1;
sync();
@log = grep { $_->[2] =~ /idp/ } @{ $raw->log };
like($log[0][4], qr/refresh_token=JKSECRET-r0&client_id=jack&client_secret=/, 'the first refresh token is that of the mapping');
like($log[1][4], qr/refresh_token=JKSECRET-r1&/, 'the next one that which came with it');
is($sql->("SELECT refresh_token || ' ' || previous_refresh_token FROM jacksync.token"), 'JKSECRET-r2 JKSECRET-r1', 'and the one before is kept');
sleep 1;
$raw->script({ status => 400, body => { error => 'invalid_grant' } }, { body => { access_token => 'JKSECRET-a3', refresh_token => 'JKSECRET-r3' } }, $empty);
is(sync()->{success}, 'f', 'a refresh token that is refused');
is(sync()->{success}, 't', 'is not the end');
like($raw->log->[1][4], qr/refresh_token=JKSECRET-r1&/, 'the one before it is tried');

# a login of a shape of its own
server("auth 'session_token', token_request '{\"method\": \"GET\", \"path\": \"/next\", \"headers\": {\"refreshToken\": \"{secret.refresh}\"},
	\"token_path\": \"\$.auth.token\", \"token_header\": \"token\", \"expires_path\": \"\$.auth.expiresIn\"}'", secret('secret_refresh', 'JKSECRET-long'));
$raw->script({ body => { auth => { token => 'JKSECRET-session', expiresIn => 86400 } } }, $empty);
is(sync()->{success}, 't', 'a login');
is($raw->log->[0][3]{refreshToken}, 'JKSECRET-long', 'with a header in');
is($raw->log->[1][3]{token}, 'JKSECRET-session', 'and a header out');
is($sql->("SELECT expires_at > now() + '23 h'::interval FROM jacksync.token"), 't', 'for as long as it says');
$sql->("DELETE FROM jacksync.token");
$raw->script({ body => {} });
like(sync()->{error}, qr/nothing at \$\.auth\.token/, 'a login without a token');

# a secret that is replaced in its file while a run goes on
server("auth 'bearer'", secret('token', 'JKSECRET-old'));
$raw->script({ status => 401, delay => 1.5 }, $empty);
my $session = start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'CALL jacksync.sync()' ], '>', \my $out, '2>', \my $err);
select undef, undef, undef, 0.7;
secret('token', 'JKSECRET-replaced');
$session->finish;
is($raw->log->[-1][3]{Authorization}, 'Bearer JKSECRET-replaced', 'is read again');

# the PMS shows what it was given
$raw->script({ status => 400, body => 'you said Bearer JKSECRET-replaced, which is bad' });
like(sync()->{error}, qr/you said Bearer \*\*\*/, 'its words are cleaned');

# and nowhere is any of it
my $log = slurp_file($node->logfile);
my @found = $log =~ /JKSECRET-\w+/g;
is_deeply(\@found, [], 'no secret in the log, at debug5');
my $dump = $node->safe_psql('postgres', q{SELECT string_agg(query_to_xml('SELECT * FROM ' || c.oid::regclass, true, false, '')::text, '')
	FROM pg_class c WHERE relnamespace = 'jacksync'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'token'});
unlike($dump, qr/JKSECRET/, 'nor in any other table or view');

$node->stop;
done_testing();
