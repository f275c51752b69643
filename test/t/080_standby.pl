# A standby: freshness and gates are right there, the worker waits for
# promotion, and then nothing is lost and nothing is sent twice.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 30, guests => 5);
my $node = JackSync::Node::hotel('primary', $pms, preload => 1, poll => '300 ms', init => { allows_streaming => 1 });
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'the primary is in sync');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $there = sub { return $standby->safe_psql('postgres', $_[0]); };

is($there->("SELECT status, can_perform_operation FROM jacksync.check_freshness('reservations', 'check_in')"), 'fresh|t', 'freshness is right on a standby');
is($there->("SELECT count(*) FROM jacksync.status"), 2, 'the status can be read');
is($there->("SELECT count(*) FROM jacksync.record WHERE sync_status = 'synced'"), 35, 'and the records');
like($there->("SELECT jacksync.dashboard_html()"), qr/This is a standby/, 'and the page');
is($there->("BEGIN; SELECT jacksync.set_freshness_headers('reservations'); SELECT current_setting('response.headers')::jsonb -> 0 ->> 'X-Data-Freshness'; COMMIT"),
	"\nfresh", 'and the headers for an API');
is($there->("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'"), 0, 'no worker runs on a standby');

# polls that find nothing are not written; but with a standby, not for long
$sql->("UPDATE jacksync.stale_policy SET max_stale_age = '40 s'");
my $since = $sql->('SELECT clock_timestamp()');
JackSync::Node::wait_for($standby, "SELECT min(last_sync) > '$since' FROM jacksync.status", 'an idle primary does not look older and older here');

# the primary cannot reach its PMS: the standby knows how old the data is
$pms->faults({ kind => 'down', match => { path => '.' } });
$sql->("UPDATE jacksync.stream_state SET last_sync_at = now() - interval '75 min', next_due_at = now() + interval '1 h'");
$node->wait_for_catchup($standby);
my ($status, $out, $err) = $standby->psql('postgres', "SELECT jacksync.require_fresh('reservations', 'check_in')");
like($err, qr/ERROR:  Data is 75 minutes old\. PMS sync required\./, 'the gate is closed on the standby too');
($status, $out, $err) = $standby->psql('postgres', "SET jacksync.override = 'x'; SELECT jacksync.require_fresh('reservations', 'check_in')");
isnt($status, 0, 'an override that cannot be audited is none');
($status, $out, $err) = $standby->psql('postgres', "CALL jacksync.sync('reservations')");
isnt($status, 0, 'nothing is synchronised from a standby');

# promotion under load: edits whose push is open, and edits that wait
$pms->heal;
$pms->faults({ kind => 'drop_after_apply', match => { method => 'PATCH', path => 'RES-000002' } });
# not in one: a run that is asked for while the push is under way would look it up at once
$sql->('SELECT jacksync.sync_now()');
JackSync::Node::wait_for($node, 'SELECT count(*) = 2 FROM jacksync.stream_state WHERE failure_count = 0 AND last_attempt_at > now() - interval \'1 min\' AND next_due_at < now() + interval \'30 min\'', 'the PMS is reached again');
$sql->("UPDATE reservations SET special_requests = '{lost answer}' WHERE external_id = 'RES-000002'");
JackSync::Node::wait_for($node, "SELECT count(*) = 1 FROM jacksync.intent WHERE state = 'unknown'", 'the outcome of a push is unknown');
$pms->faults({ kind => 'down', match => { path => '.' } });
$sql->("UPDATE reservations SET special_requests = '{waits}' WHERE external_id = 'RES-000001'");
$node->wait_for_catchup($standby);
$node->stop('immediate');
my $sent = $pms->requests('PATCH', qr/RES-000002/);
$pms->heal;
$standby->promote;
JackSync::Node::wait_for($standby, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND failure_count = 0", 'after promotion the worker starts');
JackSync::Node::wait_for($standby, "SELECT count(*) = 0 FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL", 'what was open is settled');
is($pms->requests('PATCH', qr/RES-000002/), $sent, 'by looking: nothing is sent twice');
JackSync::Node::wait_for($standby, 'SELECT timeline = 2 FROM jacksync.installation', 'the new timeline is known');
like("@{ $pms->record('reservations', 'RES-000001')->{specialRequests} }", qr/waits/, 'what waited has arrived');
$standby->safe_psql('postgres', "UPDATE reservations SET special_requests = '{after}' WHERE external_id = 'RES-000003'");
JackSync::Node::wait_for($standby, "SELECT sync_status = 'synced' FROM jacksync.record WHERE external_id = 'RES-000003'", 'and life goes on');
like("@{ $pms->record('reservations', 'RES-000003')->{specialRequests} }", qr/after/, 'there');

$standby->stop;
done_testing();
