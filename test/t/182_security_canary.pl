# Canaries: secrets that are easy to find, in every place where one can stand,
# and a server that tells them all back.  They are found nowhere but where they
# belong (SEC-03, SEC-17, SEC-18).
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::Node;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# each begins differently: the beginning of one must not hide another
my $canary = 'JKSECRET-' . join '', map { ('a' .. 'z')[ rand 26 ] } 1 .. 12;
my $serial = 100;
sub canary { return sprintf '%s%s-%s', $serial++, $canary, $_[0]; }
my $dir = PostgreSQL::Test::Utils::tempdir();
system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
	'-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem");

our (@pids, @pipes);
sub serve
{
	my $pid = open my $pipe, '-|', '/usr/bin/python3', "$FindBin::RealBin/../pms/" . shift, @_ or die $!;
	push @pids, $pid;
	push @pipes, $pipe;
	return split ' ', scalar <$pipe>;
}
END { my $status = $?; kill 'KILL', @pids if @pids; $? = $status; }
my ($port) = serve('echo.py', $canary);
my ($mail, $hook, $control) = serve('receiver.py', '--cert', "$dir/cert.pem", '--key', "$dir/key.pem", '--password', "$canary-mail");
my $url = "http://127.0.0.1:$port";

# every secret in a file of its own, so that no statement contains it
my $n = 0;
sub secret
{
	my ($value) = @_;
	my $file = "$dir/secret" . ++$n;

	append_to_file($file, "$value\n");
	chmod 0600, $file;
	return "'file:$file'";
}

my $contrib = $^O && -e `pg_config --pkglibdir` =~ s/\n//r . '/auto_explain.so';
my $node = PostgreSQL::Test::Cluster->new('canary');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\njacksync.databases = 'postgres'\nlog_statement = 'all'\n"
	  . "log_min_messages = debug5\nlog_min_error_statement = debug5\nlog_error_verbosity = verbose\nlog_min_duration_statement = 0\n"
	  . "log_parameter_max_length = -1\nlog_parameter_max_length_on_error = -1\n"
	  . ($contrib
		? "shared_preload_libraries = 'jacksync,auto_explain,pg_stat_statements'\nauto_explain.log_min_duration = 0\n"
		  . "auto_explain.log_nested_statements = on\nauto_explain.log_verbose = on\nauto_explain.log_analyze = on\npg_stat_statements.track = 'all'\n"
		: "shared_preload_libraries = 'jacksync'\n"));
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->('CREATE EXTENSION jacksync; CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text)');
$sql->('CREATE EXTENSION pg_stat_statements') if $contrib;
$sql->("INSERT INTO jacksync.entity (entity, local_table) VALUES ('e', 't');
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('e', 'name', 'merge')");

# kind, options of the server, options of the mapping, request beyond the path
my $text = canary('text') . '/+ =&%"\\';
my @kinds = (
	[ bearer => "auth 'bearer'", 'token ' . secret(canary('bearer')) ],
	[ basic => "auth 'basic'", 'username ' . secret(canary('user')) . ', password ' . secret($text) ],
	[ digest => "auth 'digest'", 'username ' . secret(canary('user')) . ', password ' . secret(canary('pass')) ],
	[ key_header => "auth 'api_key', api_key_name 'X-Key'", 'api_key ' . secret(canary('key')) ],
	[ key_query => "auth 'api_key', api_key_in 'query', api_key_name 'key'", 'api_key ' . secret($text) ],
	[ oauth_basic => "auth 'oauth2_client_credentials', token_url '$url/token'", 'client_id ' . secret(canary('id')) . ', client_secret ' . secret($text) ],
	[ oauth_post => "auth 'oauth2_client_credentials', token_url '$url/token', token_endpoint_auth_method 'client_secret_post'",
		'client_id ' . secret(canary('id')) . ', client_secret ' . secret(canary('client')) ],
	[ oauth_bad => "auth 'oauth2_client_credentials', token_url '$url/bad'", 'client_id ' . secret(canary('id')) . ', client_secret ' . secret(canary('client')) ],
	[ refresh => "auth 'oauth2_refresh_token', token_url '$url/token'",
		'client_id ' . secret(canary('id')) . ', client_secret ' . secret(canary('client')) . ', refresh_token ' . secret(canary('refresh')) ],
	[ session => q{auth 'session_token', token_request '{"path": "/token", "method": "POST", "body": {"login": "{secret.login}"}, "token_path": "$.session"}'},
		'secret_login ' . secret(canary('login')) ],
	[ templates => q{auth 'none', headers '{"X-Static": "{secret.h}"}'},
		'secret_h ' . secret(canary('h')) . ', secret_b ' . secret($text) . ', secret_q ' . secret($text),
		q{, "method": "POST", "headers": {"X-Other": "{secret.h}"}, "query": {"q": "{secret.q}"}, "body": {"login": "{secret.b}", "deep": [{"a": "{secret.h}"}]}} ],
);
for my $kind (@kinds)
{
	my ($name, $options, $mapping, $more) = @$kind;
	$sql->("CREATE SERVER $name FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '$url', timeout '5s', $options);
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($mapping)");
	my $ok = 0;
	for my $path ('ok', 'echo', 'redirect', 'html', 'close')
	{
		my $request = qq({"path": "/$path/$name") . ($more // '') . '}';
		$sql->("DELETE FROM jacksync.stream; INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('e', '$name',
			'$request', '{\"read\": {\"path\": \"/$path/{record.id}\"}, \"update\": {\"method\": \"PATCH\", \"path\": \"/$path/{record.id}\"}}')");
		$node->psql('postgres', "UPDATE t SET name = name || '.'; CALL jacksync.sync('e')");
		$ok++ if $path eq 'ok' && $sql->("SELECT count(*) > 0 FROM jacksync.sync_run WHERE server = '$name' AND kind = 'sync' AND success") eq 't';
	}
	is($ok, $name eq 'oauth_bad' ? 0 : 1, "secrets were used: $name") if $name ne 'digest';
	is($sql->("SELECT count(*) > 0 FROM jacksync.sync_run WHERE server = '$name' AND NOT success"), 't', "and told back: $name");
}
like($sql->('SELECT string_agg(access_token, $$ $$) FROM jacksync.token'), qr/$canary-access/, 'tokens are where they belong');

# alerts: a mail server that refuses, a webhook that tells back
$sql->("CREATE SERVER relay FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://127.0.0.1:$mail', auth 'basic', ca_file '$dir/cert.pem', timeout '5s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER relay OPTIONS (username 'jack', password " . secret(canary('wrong')) . ");
	CREATE SERVER slack FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '$url', timeout '5s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER slack OPTIONS (secret_ops " . secret("$url/echo/" . canary("hook") . "?x=" . canary("query")) . ', secret_signing_key ' . secret(canary('sign')) . ");
	INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients, webhook_secret) VALUES
		('m', 'email', 'relay', 'a\@b.example', '{c\@d.example}', NULL), ('s', 'slack', 'slack', NULL, '{}', 'ops'), ('w', 'webhook', 'slack', NULL, '{}', 'ops');
	SELECT jacksync.test_channel(channel) FROM jacksync.alert_channel");
JackSync::Node::wait_for($node, "SELECT count(*) = 3 AND bool_and(last_error IS NOT NULL) FROM jacksync.alert_delivery", 'channels refuse, and tell back');
$node->psql('postgres', 'SELECT jacksync.dashboard_html(), jacksync.export_config(); SELECT * FROM jacksync.diagnose(); SELECT * FROM jacksync.help(); SELECT * FROM pg_stat_activity');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM jacksync.worker');

#
# Now look for them
#
my @needles = ('JKSECRET', map { my $pad = $_; my $b = encode_base64(('x' x $pad) . $canary, ''); substr($b, 4, 10) } 0 .. 2);
sub found
{
	my ($what, $haystack) = @_;
	my %seen;
	my @lines;
	for my $needle (@needles)
	{
		my $at = -1;
		while (@lines < 50 && ($at = index($haystack, $needle, $at + 1)) >= 0)
		{
			my $from = rindex($haystack, "\n", $at) + 1;
			push @lines, substr($haystack, $from > $at - 300 ? $from : $at - 300, 600) =~ s/\n.*//sr;
		}
	}
	@lines = grep { !$seen{ s/[0-9]+/N/gr }++ } @lines;
	is(scalar @lines, 0, "no secret in $what") or diag(map { substr($_, 0, 600) . "\n" } @lines[ 0 .. ($#lines < 4 ? $#lines : 4) ]);
}
for my $table (split /\n/, $sql->("SELECT c.oid::regclass FROM pg_class c WHERE relnamespace IN ('jacksync'::regnamespace, 'public'::regnamespace)
	AND relkind IN ('r', 'v') AND relname <> 'token' ORDER BY 1"))
{
	found($table, $sql->("SELECT x::text FROM $table x"));
}
found('pg_stat_activity and pg_user_mappings', $sql->('SELECT x::text FROM pg_stat_activity x; SELECT x::text FROM pg_user_mappings x'));
found('the page and the configuration', $sql->('SELECT jacksync.dashboard_html(), jacksync.export_config(); SELECT x::text FROM jacksync.diagnose() x'));
my $dump = "$dir/dump.sql";
command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
found('pg_dump', slurp_file($dump));
$node->stop;
# a line at a time: it is large
my ($bytes, $plans, @hits) = (0, 0);
open my $log, '<', $node->logfile or die $!;
while (my $line = <$log>)
{
	$bytes += length $line;
	$plans++ if index($line, 'Query Text') >= 0;
	push @hits, substr($line, 0, 600) if @hits < 5 && grep { index($line, $_) >= 0 } @needles;
}
is(join('', @hits), '', 'no secret in the log of the server');
cmp_ok($bytes, '>', 1_000_000, 'which is one of debug5');
ok($plans, 'with plans of auto_explain') if $contrib;

done_testing();
