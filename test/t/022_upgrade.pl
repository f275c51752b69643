# The library and the SQL objects are of two versions: the worker says so and
# waits; ALTER EXTENSION UPDATE gives the same objects as CREATE EXTENSION.
use strict;
use warnings FATAL => 'all';
use FindBin;
use File::Path qw(make_path);
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 5, guests => 5);
my $node = JackSync::Node::hotel('upgrade', $pms, preload => 1, poll => '300 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };
my $version = $sql->('SELECT jacksync.library_version()');
my $well = "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'";
$wait->($well, 'it runs');

# the objects of another version: older, then newer
for my $other ('0.0.1', '99.0')
{
	$sql->("UPDATE pg_extension SET extversion = '$other' WHERE extname = 'jacksync'");
	# whoever changes an extension changes its tables as well
	$sql->("COMMENT ON TABLE jacksync.stream_state IS 'as it was'; SELECT jacksync.wake_worker()");
	my $runs;
	for (1 .. 200)
	{
		last if slurp_file($node->logfile) =~ /jacksync waits: the extension has version \Q$other\E, the library \Q$version\E/;
		select undef, undef, undef, 0.1;
	}
	like(slurp_file($node->logfile), qr/jacksync waits: the extension has version \Q$other\E, the library \Q$version\E/, "objects of $other: the worker says so");
	like(slurp_file($node->logfile), qr/HINT:  Run ALTER EXTENSION jacksync UPDATE/, 'with a hint');
	is($sql->("SELECT message FROM jacksync.diagnose() WHERE check_name = 'version' AND subject = 'extension'"),
		"The extension has version $other, the library $version.", 'and diagnose() does');
	select undef, undef, undef, 1;
	$runs = $sql->('SELECT count(*) FROM jacksync.sync_run');
	select undef, undef, undef, 1.5;
	is($sql->('SELECT count(*) FROM jacksync.sync_run'), $runs, 'and it waits');
	my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('guests')");
	like($err, qr/extension has version \Q$other\E/, 'a session does not guess either');
	$sql->("UPDATE guests SET notes = 'while waiting for $other' WHERE external_id = 'GST-000001'");
	$sql->("UPDATE pg_extension SET extversion = '$version' WHERE extname = 'jacksync'; SELECT jacksync.sync_now()");
	$wait->("SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'GST-000001'", 'when both agree it goes on, and local changes were kept');
}
$wait->($well, 'all is well');

# an older version is installed, and updated by a script: the same as new.  The
# older version is this one without what the script adds: a view, a column, a
# function.  (The scripts stand where the server looks for extensions.)
my $stage = $ENV{JACKSYNC_STAGE} // '';
SKIP:
{
	my ($share) = run_command([ 'pg_config', '--sharedir' ]);
	my $dir = "$stage$share/extension";
	skip 'the extension is installed where nobody may write', 5 if $stage eq '';
	ok(-w $dir, 'scripts can be put beside that of the extension') or skip 'nothing can be installed', 4;
	my $script = slurp_file("$dir/jacksync--$version.sql");
	my $cut = sub { my ($from, $to) = @_; my $i = index $script, $from; my $j = index($script, $to, $i) + length $to;
		die "no $from" if $i < 0; my $part = substr $script, $i, $j - $i; substr($script, $i, $j - $i) = ''; return $part; };
	my $comment = $cut->("COMMENT ON FUNCTION jacksync.library_version() IS", ";\n");
	my $stat = $cut->("CREATE VIEW jacksync.stat AS", "(jacksync.sync_run)';\n");
	my $old = '0.0.9';
	append_to_file("$dir/jacksync--$old.sql", $script);
	append_to_file("$dir/jacksync--$old--$version.sql", "\\echo Use \"ALTER EXTENSION jacksync UPDATE\" to load this file. \\quit\n$comment$stat");
	$sql->('CREATE DATABASE old');
	$sql->('CREATE DATABASE fresh');
	$node->safe_psql('old', "CREATE EXTENSION jacksync VERSION '$old'; ALTER EXTENSION jacksync UPDATE; SELECT jacksync.library_version()");
	$node->safe_psql('fresh', 'CREATE EXTENSION jacksync');
	is($node->safe_psql('old', "SELECT extversion FROM pg_extension WHERE extname = 'jacksync'"), $version, 'ALTER EXTENSION UPDATE');
	my $catalog = "SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jacksync') ORDER BY 1";
	is($node->safe_psql('old', $catalog), $node->safe_psql('fresh', $catalog), 'gives the same objects as CREATE EXTENSION');
	my $columns = "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, col_description(c.oid, a.attnum) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE c.relnamespace = 'jacksync'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2";
	is($node->safe_psql('old', $columns), $node->safe_psql('fresh', $columns), 'with the same columns');
	my $functions = "SELECT p.oid::regprocedure, md5(p.prosrc), p.proacl, obj_description(p.oid, 'pg_proc') FROM pg_proc p WHERE p.pronamespace = 'jacksync'::regnamespace ORDER BY 1";
	is($node->safe_psql('old', $functions), $node->safe_psql('fresh', $functions), 'and the same functions');
	unlink "$dir/jacksync--$old.sql", "$dir/jacksync--$old--$version.sql";
}

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal/, 'nothing crashed');
done_testing();
