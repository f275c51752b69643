# What breaks says so where an operator looks, the rest goes on, and what is
# mended resumes by itself.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 20, guests => 10);
my $node = JackSync::Node::hotel('mending', $pms, preload => 1, poll => '300 ms');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, $_[0], $_[1]); };
my $well = "SELECT count(*) = 2 FROM jacksync.status WHERE status IN ('connected', 'syncing') AND failure_count = 0";
$wait->($well, 'all is well');

# broken(entity, pattern, what): the entity says why, the other one goes on
sub broken
{
	my ($entity, $pattern, $what) = @_;
	my $other = $entity eq 'guests' ? 'reservations' : 'guests';
	$wait->("SELECT status = 'error' AND message ~ '$pattern' FROM jacksync.status WHERE entity = '$entity'", "$what: the status says so");
	$wait->("SELECT count(*) > 0 FROM jacksync.diagnose() WHERE status = 'error' AND subject ~ '$entity'", "$what: diagnose() too");
	$wait->("SELECT last_sync > now() - interval '3 s' AND status <> 'error' FROM jacksync.status WHERE entity = '$other'", "$what: the other entity goes on");
	return;
}

$sql->('ALTER TABLE guests RENAME phone TO telephone');
broken('guests', 'column "phone" of table "guests"', 'a renamed column');
$sql->("SELECT jacksync.sync_now('guests')");
$sql->('ALTER TABLE guests RENAME telephone TO phone');
$sql->("SELECT jacksync.sync_now('guests')");
$wait->($well, 'renamed back: it resumes');

$sql->('ALTER TABLE reservations DROP CONSTRAINT reservations_pkey');
broken('reservations', 'has no primary key', 'a dropped primary key');
$sql->('ALTER TABLE reservations ADD PRIMARY KEY (id); SELECT jacksync.sync_now()');
$wait->($well, 'a new primary key: it resumes');

# a type that the values do not fit: records fail, not the stream; nothing is lost
$sql->('ALTER TABLE guests ALTER name TYPE integer USING 0');
$pms->edit('guests', 'GST-000001', { name => 'No Number' });
$wait->("SELECT count(*) = 1 FROM jacksync.sync_error WHERE external_id = 'GST-000001' AND state = 'retry'", 'a changed type: the record fails');
$sql->('ALTER TABLE guests ALTER name TYPE text USING name::text');
$sql->("SELECT jacksync.resync('guests')");
$wait->("SELECT name = 'No Number' FROM guests WHERE external_id = 'GST-000001'", 'changed back: it arrives');
$wait->("SELECT count(*) = 0 FROM jacksync.sync_error WHERE state IN ('retry', 'dead')", 'and its error is over');

# an owner without credentials, and one without rights
$sql->('CREATE ROLE newcomer; GRANT CREATE ON SCHEMA public TO newcomer; ALTER TABLE guests OWNER TO newcomer');
broken('guests', 'user mapping for "newcomer".*does not exist', 'an owner without a mapping');
my ($url) = ($pms->url);
$sql->("CREATE USER MAPPING FOR newcomer SERVER sample_pms OPTIONS (client_id 'jack', client_secret 'hotel-secret'); SELECT jacksync.sync_now()");
$wait->($well, 'with a mapping: it resumes');
$sql->('REVOKE ALL ON guests FROM newcomer');
$pms->edit('guests', 'GST-000002', { name => 'Without Rights' });
$wait->("SELECT count(*) > 0 FROM jacksync.status s WHERE s.entity = 'guests' AND s.message ~ 'permission denied'
	UNION ALL SELECT count(*) > 0 FROM jacksync.sync_error WHERE error ~ 'permission denied' ORDER BY 1 DESC LIMIT 1", 'an owner without rights: it says so');
$sql->('GRANT ALL ON guests TO newcomer');
$sql->("SELECT jacksync.resync('guests')");
$wait->("SELECT name = 'Without Rights' FROM guests WHERE external_id = 'GST-000002'", 'with rights: it arrives');
$sql->('ALTER TABLE guests OWNER TO CURRENT_USER');
$sql->('DROP OWNED BY newcomer; DROP ROLE newcomer');
$wait->($well, 'a dropped role disturbs nobody');

# a table that is dropped, and bound again
$sql->('DROP TABLE guests');
broken('guests', 'does not exist', 'a dropped table');
$sql->("CREATE TABLE guests (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, email text, phone text,
	loyalty_number text, loyalty_tier text, preferences text[], notes text, tags text[], communication_channel text, last_interaction timestamptz);
	UPDATE jacksync.entity SET local_table = 'guests' WHERE entity = 'guests'; SELECT jacksync.resync('guests')");
$wait->('SELECT count(*) = 10 FROM guests', 'a new table: all records come back');
$wait->($well, 'and all is well');

# a trigger that hangs: the worker waits for it so long, and no longer
$sql->("ALTER SYSTEM SET jacksync.statement_timeout = '1s'");
$node->reload;
$sql->("CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
	IF NEW.external_id = 'GST-000004' THEN PERFORM pg_sleep(1000); END IF; RETURN NEW; END \$\$;
	CREATE TRIGGER hang BEFORE UPDATE ON guests FOR EACH ROW EXECUTE FUNCTION hang()");
$pms->edit('guests', $_, { name => 'Hangs' }) for 'GST-000004', 'GST-000005';
$wait->("SELECT count(*) = 1 FROM jacksync.sync_error WHERE external_id = 'GST-000004' AND error ~ 'timeout'", 'a trigger that hangs: the record fails');
$wait->("SELECT name = 'Hangs' FROM guests WHERE external_id = 'GST-000005'", 'the others arrive');
$wait->("SELECT last_sync > now() - interval '4 s' FROM jacksync.status WHERE entity = 'reservations'", 'the worker goes on');
$sql->('DROP TRIGGER hang ON guests');
$sql->("SELECT jacksync.sync_now()");
$wait->("SELECT name = 'Hangs' FROM guests WHERE external_id = 'GST-000004'", 'without the trigger it arrives');

# settings that make no sense
my ($status, $out, $err) = $node->psql('postgres', "ALTER SYSTEM SET jacksync.databases = 'a b,,'");
like($err, qr/invalid value for parameter "jacksync.databases"/, 'a bad list is refused');
$sql->("ALTER SYSTEM SET jacksync.databases = 'postgres, nowhere'");
$node->reload;
my $try = 0;
select undef, undef, undef, 0.2 while slurp_file($node->logfile) !~ /waits for database "nowhere", which does not exist/ && $try++ < 100;
like(slurp_file($node->logfile), qr/waits for database "nowhere", which does not exist/, 'an unknown database is in the log');
is($sql->("SELECT message FROM jacksync.diagnose() WHERE check_name = 'databases'"), 'Database "nowhere" does not exist.', 'and in diagnose()');
$pms->edit('guests', 'GST-000003', { name => 'Still Here' });
$wait->("SELECT name = 'Still Here' FROM guests WHERE external_id = 'GST-000003'", 'and the others go on');
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal 11/, 'nothing crashed');

$node->stop;
done_testing();
