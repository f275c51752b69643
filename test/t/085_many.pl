# One worker and three hundred servers, some of which hang or refuse: the
# others keep their interval.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $servers = 300;
my $pms = JackSync::PMS->start(rooms => 3, guests => 1, reservations => 1);
my $node = PostgreSQL::Test::Cluster->new('many');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jacksync'\njacksync.databases = 'postgres'\ntimezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $url = $pms->url;
$sql->("CREATE EXTENSION jacksync;
	CREATE TABLE rooms (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text, hotel text, number text, status text, UNIQUE (hotel, external_id));
	INSERT INTO jacksync.entity (entity, local_table, property_column) VALUES ('rooms', 'rooms', 'hotel');
	DO \$\$ BEGIN FOR i IN 1 .. $servers LOOP
		EXECUTE format('CREATE SERVER hotel_%s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url ''$url'', timeout ''20s'', auth ''bearer'')', i);
		EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER hotel_%s OPTIONS (token ''static-token'')', i);
	END LOOP; END \$\$;");
$pms->config({ auth => 'static', static_token => 'static-token' });
$pms->faults({ kind => 'hang', match => { query => 'hotel=1\d\d(&|$)' } }, { kind => 'status', status => 503, match => { query => 'hotel=2\d(&|$)' } });
$sql->("INSERT INTO jacksync.stream (entity, server, request, record_path, property_value, poll_interval)
	SELECT 'rooms', 'hotel_' || i, jsonb_build_object('path', '/v1/rooms', 'query', jsonb_build_object('updatedSince', '{since}', 'hotel', i::text)),
		'\$.data[*]', 'H' || i, '6 s' FROM generate_series(1, $servers) i");
JackSync::Node::wait_for($node, "SELECT count(*) = 190 FROM jacksync.stream_state WHERE last_sync_at IS NOT NULL", 'every healthy server is in sync');
is($sql->('SELECT count(DISTINCT hotel), count(*) FROM rooms'), '190|570', 'with its own rows');
my $pid = $sql->('SELECT pid FROM jacksync.worker_status');
my $cpu = sub { my @stat = split ' ', slurp_file("/proc/$pid/stat"); return ($stat[13] + $stat[14]) / 100; };
my ($before, $began) = ($cpu->(), time);
sleep 15;
my $used = ($cpu->() - $before) / (time - $began);
is($sql->("SELECT count(*) FROM jacksync.stream_state WHERE jacksync.live_last_sync(stream_id, last_sync_at) > now() - interval '9 s'"), 190, 'and keeps its interval of six seconds');
cmp_ok($sql->("SELECT count(*) FROM jacksync.stream_state WHERE failure_count > 0"), '>=', 10, 'servers that refuse are in back-off');
diag(sprintf 'measured: CPU of the worker with %d servers polled every 6 s: %.1f %%', $servers, $used * 100);
# most of a day: every server once a minute, and nothing to do
$pms->heal;
$sql->("UPDATE jacksync.stream SET poll_interval = '60 s'; UPDATE jacksync.stream_state SET failure_count = 0, next_due_at = now() + random() * interval '60 s';
	SELECT jacksync.wake_worker()");
sleep 2;
my $now = $sql->('SELECT clock_timestamp()');
my $polled = "SELECT count(*) FROM jacksync.stream_state WHERE jacksync.live_last_sync(stream_id, last_sync_at) > '$now'";
my $wakeups = sub { return $sql->('SELECT wakeups FROM jacksync.worker_status'); };
my $wakeups_before = $wakeups->();
($before, $began) = ($cpu->(), time);
sleep 10;
$used = ($cpu->() - $before) / (time - $began);
diag(sprintf 'measured: CPU of the worker with %d servers polled once a minute: %.1f %%, %d cycles and %d wake-ups in %d s',
	$servers, $used * 100, $sql->($polled), $wakeups->() - $wakeups_before, time - $began);
my $rss = (slurp_file("/proc/$pid/status") =~ /VmRSS:\s+(\d+)/)[0];
diag("measured: memory of the worker: $rss kB");
cmp_ok($rss, '<', 200_000, 'memory is bounded');
my $started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', 5, 'a fast shutdown in the midst of a hundred hanging requests');
done_testing();
