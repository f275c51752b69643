# Roles that are not superusers against jacksync: strangers, people who
# configure it, people who make servers (SEC-05, SEC-06, SEC-08, SEC-09, SEC-10,
# SEC-16, SEC-17, SEC-19).
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('roles');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };

# as(role, statements) -> errors; refused(role, statements, SQLSTATE or text, what)
sub as
{
	my ($role, $statements) = @_;
	my ($out, $err);
	my $status = $node->psql('postgres', $statements, stdout => \$out, stderr => \$err, on_error_stop => 1,
		extra_params => [ '-U', $role, '-v', 'VERBOSITY=verbose' ]);
	return ($status, $out, $err);
}
sub refused
{
	my ($role, $statements, $pattern, $what) = @_;
	my ($status, $out, $err) = as($role, $statements);
	like($err, $pattern, $what) and cmp_ok($status, '!=', 0, "$what: an error");
}
sub allowed
{
	my ($role, $statements, $what) = @_;
	my ($status, $out, $err) = as($role, $statements);
	is($status, 0, $what) or diag($err);
	return $out;
}

#
# Before CREATE EXTENSION: an attacker was here first
#
$sql->('CREATE ROLE attacker LOGIN; CREATE DATABASE trap OWNER attacker');
my $trap = sub
{
	my $err;
	my $status = $node->psql('trap', $_[0], stderr => \$err, on_error_stop => 1, extra_params => [ '-U', $_[1] // 'postgres' ]);
	return "$status $err";
};
for my $case (
	[ 'CREATE SCHEMA jacksync', 'attacker', 'a schema of his' ],
	[ 'CREATE SCHEMA jacksync; GRANT CREATE ON SCHEMA jacksync TO PUBLIC', 'postgres', 'a schema that all may write' ],
	[ "CREATE SCHEMA jacksync; CREATE FUNCTION jacksync.snake_case(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1'", 'postgres', 'a function in the schema' ],
	[ 'CREATE SCHEMA jacksync; CREATE TABLE jacksync.entity (i integer)', 'postgres', 'a table in the schema' ],
	[ 'CREATE SCHEMA jacksync; CREATE OPERATOR jacksync.= (LEFTARG = text, RIGHTARG = name, FUNCTION = texteqname)', 'postgres', 'an operator in the schema' ])
{
	my ($statements, $role, $what) = @$case;
	$trap->($statements, $role);
	like($trap->('CREATE EXTENSION jacksync'), qr/^3 .*schema "jacksync" exists already, and is not ours alone/, "$what: refused");
	$trap->('DROP SCHEMA jacksync CASCADE');
}
# traps in public and pg_temp are not found
my @traps = map { "CREATE FUNCTION $_->[0]($_->[1]) RETURNS $_->[2] LANGUAGE plpgsql AS \$\$ BEGIN RAISE EXCEPTION 'trapped'; END \$\$" }
	([ 'public.set_config', 'text,text,bool', 'text' ], [ 'public.lower', 'varchar', 'text' ], [ 'public.format', 'text, name', 'text' ],
	[ 'public.jsonb_build_object', 'text, text', 'jsonb' ], [ 'public.coalesce_eq', 'text, name', 'bool' ]);
$trap->(join(';', @traps, "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = name, FUNCTION = public.coalesce_eq)",
	'CREATE TABLE public.entity (i integer)', 'CREATE TYPE public.strategy AS (i integer)'), 'attacker');
is($node->psql('trap', join(';', 'SET search_path = public', 'CREATE TEMP TABLE entity (i integer)', 'CREATE TEMP TABLE stream (i integer)',
	'CREATE EXTENSION jacksync', 'SELECT jacksync.load_config(jacksync.hotel_config())',
	'SELECT * FROM jacksync.diagnose(), jacksync.status', 'SELECT jacksync.dashboard_html()')), 0,
	'objects of the same names in public and pg_temp are not found');

#
# Roles
#
$sql->(q{
	CREATE EXTENSION jacksync;
	CREATE ROLE nobody LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE operator LOGIN; CREATE ROLE config LOGIN; CREATE ROLE maker LOGIN;
	SELECT jacksync.grant_access('reader', 'reader'), jacksync.grant_access('operator', 'operator'), jacksync.grant_access('config', 'admin');
	GRANT USAGE ON FOREIGN DATA WRAPPER jacksync TO maker;
	GRANT CREATE ON SCHEMA public TO config, nobody;
	CREATE TABLE victim (id integer PRIMARY KEY, external_id text, name text, secret text);
	INSERT INTO victim VALUES (1, NULL, 'x', 'y');
	CREATE SERVER bank FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://bank.example.com/api', auth 'bearer');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bank OPTIONS (token 'T0PS3CRET');
	CREATE USER MAPPING FOR config SERVER bank OPTIONS (token 'T0PS3CRET');
	CREATE SERVER own FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://own.example.com/api');
	GRANT USAGE ON FOREIGN SERVER own TO config;
});

# a stranger: nothing
my @open;
for my $object ($sql->("SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'jacksync'::regnamespace AND relkind IN ('r', 'v', 'S')") =~ /(\S+)/g)
{
	my ($status, $out, $err) = as('nobody', "SELECT * FROM $object LIMIT 1");
	push @open, $object unless $err =~ /42501/;
}
is("@open", '', 'a stranger reads nothing');
refused('nobody', 'SELECT jacksync.snake_case($$a$$)', qr/42501.*permission denied for schema jacksync/, 'a stranger calls nothing');
refused('nobody', 'CREATE TEMP TABLE t (i integer PRIMARY KEY); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION jacksync.capture(1)',
	qr/42501/, 'and attaches no trigger');
$sql->('GRANT USAGE ON SCHEMA jacksync TO nobody');
refused('nobody', "CREATE TEMP TABLE t (i integer PRIMARY KEY); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION jacksync.$_",
	qr/42501.*permission denied for function/, "not even with the schema: $_") for ('capture(1)', 'refuse_truncate()', 'config_changed()', 'attach_triggers()');
refused('config', "CREATE TEMP TABLE t (i integer PRIMARY KEY); CREATE TRIGGER t AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION jacksync.capture(1)",
	qr/42501.*permission denied for function/, 'nor does who configures');
refused('nobody', 'CREATE SERVER evil FOREIGN DATA WRAPPER jacksync OPTIONS (base_url $$https://evil.example.com$$)', qr/42501/, 'a stranger makes no server');
refused('config', 'CREATE SERVER evil FOREIGN DATA WRAPPER jacksync OPTIONS (base_url $$https://evil.example.com$$)', qr/42501/,
	'who configures makes no server: addresses are for those with USAGE on the wrapper');

# readers and operators do not configure, and see no secrets and no internal state
for my $role ('reader', 'operator', 'config')
{
	refused($role, "SELECT * FROM jacksync.$_", qr/42501/, "$role cannot read $_") for ('token', 'link', 'intent', 'change', 'installation');
	is(allowed($role, "SELECT count(*) FROM pg_user_mappings WHERE umoptions IS NOT NULL AND umuser <> 0 AND usename <> current_user", "$role looks for mappings"),
		0, "$role sees no mapping of others");
}
refused('operator', "UPDATE jacksync.authority SET strategy = 'pms_wins'", qr/42501/, 'an operator does not change rules');
refused('operator', "DELETE FROM jacksync.audit_log", qr/42501/, 'nor the audit log');
refused('reader', "SELECT jacksync.sync_now()", qr/42501/, 'a reader does not operate');

#
# The confused deputy
#
my $bind = "INSERT INTO jacksync.entity (entity, local_table) VALUES ('stolen', 'victim')";
refused('config', $bind, qr/42501.*must be owner of table (public\.)?victim/, 'a table of somebody else cannot be bound');
refused('config', "SET check_function_bodies = off; SET row_security = off; $bind", qr/42501.*must be owner/, 'not by pretending to restore a dump');
allowed('config', q{
	CREATE TABLE mine (id integer PRIMARY KEY, external_id text, name text);
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('mine', 'mine')}, 'a table of his own can be');
refused('config', "UPDATE jacksync.entity SET local_table = 'victim' WHERE entity = 'mine'", qr/42501.*must be owner/, 'and cannot be exchanged');
my $stream = sub { return "INSERT INTO jacksync.stream (entity, server, request) VALUES ('mine', '$_[0]', '$_[1]')"; };
refused('config', $stream->('bank', '{"path": "/x"}'), qr/42501.*permission denied for foreign server bank/, 'a server without USAGE cannot be used');
refused('config', "INSERT INTO jacksync.alert_channel (channel, type, server) VALUES ('c', 'webhook', 'bank')",
	qr/42501.*permission denied for foreign server bank/, 'nor for alerts');
for my $case ([ '{"path": "@evil.example.com/"}', qr/A path starts with/, 'another host behind @' ],
	[ '{"path": ".evil.example.com/"}', qr/A path starts with/, 'a longer host name' ],
	[ '{"path": ":8080/"}', qr/A path starts with/, 'another port' ],
	[ '{"path": "https://evil.example.com/"}', qr/A path starts with/, 'another address' ],
	[ '{"path": "/x\r\nHost: evil"}', qr/A path starts with/, 'line breaks in a path' ],
	[ '{"path": "/x", "headers": {"Host": "evil.example.com"}}', qr/headers has the header "Host"/, 'another Host' ],
	[ '{"path": "/x", "headers": {"Transfer-Encoding": "chunked"}}', qr/headers has the header/, 'a smuggled body' ],
	[ '{"path": "/x", "headers": {"A\r\nHost": "evil"}}', qr/name of a header/, 'line breaks in the name of a header' ],
	[ '{"path": "/x", "headers": {"A": "b\r\nHost: evil"}}', qr/control character/, 'and in its value' ],
	[ '{"path": "/x", "method": "CONNECT"}', qr/Valid methods/, 'CONNECT' ])
{
	my ($request, $pattern, $what) = @$case;
	refused('config', $stream->('own', $request), $pattern, "refused: $what");
}
allowed('config', $stream->('own', '{"path": "/x"}'), 'a server with USAGE can be used');
$sql->('REVOKE USAGE ON FOREIGN SERVER own FROM config');
refused('config', q{UPDATE jacksync.stream SET request = '{"path": "/y"}'}, qr/42501.*permission denied for foreign server own/,
	'and when USAGE is gone, nothing new can be asked of it');
allowed('config', q{UPDATE jacksync.stream SET enabled = false}, 'but the stream can be switched off');

#
# Secrets in files: superusers only, by whatever way
#
allowed('maker', q{CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://s.example.com', auth 'bearer')}, 'who may use the wrapper makes servers');
for my $option ('token', 'password', 'api_key', 'client_secret', 'secret_x')
{
	refused('maker', "CREATE USER MAPPING FOR maker SERVER s OPTIONS ($option 'file:/etc/passwd')",
		qr/42501.*only a superuser may let option "$option" be read from a file/, "no $option from a file");
}
allowed('maker', q{CREATE USER MAPPING FOR maker SERVER s OPTIONS (token 'plain')}, 'a plain secret');
refused('maker', q{ALTER USER MAPPING FOR maker SERVER s OPTIONS (SET token 'file:/etc/passwd')}, qr/42501.*read from a file/, 'not by ALTER USER MAPPING');
refused('maker', q{ALTER USER MAPPING FOR maker SERVER s OPTIONS (ADD secret_y 'file:/etc/passwd')}, qr/42501.*read from a file/, 'nor by adding one');
$sql->(q{ALTER USER MAPPING FOR maker SERVER s OPTIONS (SET token 'file:/etc/passwd')});
refused('maker', q{ALTER USER MAPPING FOR maker SERVER s OPTIONS (SET token 'file:/etc/shadow')}, qr/42501.*read from a file/, 'nor by changing one that a superuser made');
refused('config', q{SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "slack", "webhook": "file:/etc/passwd"}]}}}')},
	qr/is no \$\{NAME\}/, 'load_config reads no files');
is(allowed('config', 'SELECT jacksync.export_config()', 'the configuration is exported') =~ /T0PS3CRET|plain/ ? 1 : 0, 0, 'without secrets');

#
# Names that mean something to SQL, JSON, HTML or a terminal
#
my $long = "\xC3\xBC" x 31 . 'x';		# 63 bytes of UTF-8
for my $name ('a";drop table x;--', q{o'clock"; --}, '$1', "new\nline", '%s%n', '{record.id}', '<script>', $long, 'select')
{
	my $q = '"' . $name =~ s/"/""/gr . '"';
	my $l = "'" . $name =~ s/'/''/gr . "'";
	my $table = $q;
	my ($out, $err);
	my $status = $node->psql('postgres', qq{
		CREATE TABLE $table ($q integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, value text);
		INSERT INTO jacksync.entity (entity, local_table) SELECT 'odd', oid FROM pg_class WHERE relname = ${l}::name;
		INSERT INTO jacksync.authority (entity, field, strategy, column_name) VALUES ('odd', 'v', 'manual', 'value');
		SELECT (jacksync.apply('odd', '[{"id": "1", "v": "a"}]')).created;
		UPDATE $table SET value = 'b';
		SELECT (jacksync.apply('odd', '[{"id": "1", "v": "c"}]')).conflicts;
		SELECT jacksync.resolve_conflicts('odd', 'v', 'pms');
		SELECT value FROM $table;
		SELECT length(jacksync.dashboard_html()) > 0;
		DELETE FROM jacksync.entity WHERE entity = 'odd'; DELETE FROM jacksync.authority WHERE entity = 'odd';
		DROP TABLE $table;
	}, stdout => \$out, stderr => \$err, on_error_stop => 1);
	is("$status $err", '0 ', 'a table and its key are called ' . $name =~ s/\n/\\n/r);
	like($out, qr/^1\n1\n1\nc\nt$/, 'and are synchronised');
}
is($sql->("SELECT count(*) FROM pg_class WHERE relname = 'victim'"), 1, 'nothing was dropped');

$node->stop;
done_testing();
