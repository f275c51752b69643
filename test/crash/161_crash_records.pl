# Crash points of creates and deletes: one record for one row, whatever dies.
#
# Needs a build with -DJACKSYNC_FAULTS, as 160_crash.pl.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);
use Test::More;

my @actions = qw(kill error exit fatal);
my @points = qw(cp07 cp08 cp09 cp10 cp11 cp12);
my @cases = ($ENV{CRASH} // '') eq 'full'
  ? map { my $action = $_; map { "$_:$action" } @points } @actions
  : qw(cp08:kill cp09:kill cp10:error cp11:kill cp12:exit cp07:error cp10:kill);

my $pms = JackSync::PMS->start(reservations => 2, guests => 60);
my $node = JackSync::Node::hotel('crashrecords', $pms, preload => 1, poll => '200 ms', conf => "restart_after_crash = on\n");
my $file = $node->data_dir . '/jacksync.faults';
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(q(UPDATE jacksync.entity SET on_local_delete = 'push' WHERE entity = 'guests'));
$sql->(q(UPDATE jacksync.stream SET push = push || '{"find": {"path": "/v1/guests", "query": {"reference": "{record.reference}"}, "record_path": "$.data[*]"},
	"create": {"path": "/v1/guests", "constants": {"reference": "{record.reference}"}}, "delete": {"path": "/v1/guests/{record.id}"}}' WHERE entity = 'guests'));
# the PMS does not know keys: only looking keeps it from acting twice
$pms->config({ idempotency => JSON::PP::false });
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

my $n = 0;
one(split /:/, $_) for @cases;

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal (6|11)/, 'nothing crashed but what was told to');
done_testing();

# A row is inserted, another one deleted; something dies; all comes right.
sub one
{
	my ($point, $action) = @_;
	my $name = 'N' . ++$n;
	my $old = sprintf 'GST-%06d', $n;
	my $what = "$point $action";

	if ($point eq 'cp09')
	{
		$pms->faults({ kind => 'hang_after_apply', match => { method => $n % 2 ? 'POST' : 'DELETE', path => '/v1/guests' } });
	}
	else
	{
		open my $handle, '>', "$file.tmp" or die "$file.tmp: $!";
		print $handle "$point $action 1\n";
		close $handle;
		chmod 0600, "$file.tmp";
		rename "$file.tmp", $file or die "$file: $!";
	}
	$sql->("BEGIN; INSERT INTO guests (name, tags) VALUES ('$name', '{vip}'); DELETE FROM guests WHERE external_id = '$old'; COMMIT");
	my $struck = $point eq 'cp09' ? wait_until(sub { $pms->requests($n % 2 ? 'POST' : 'DELETE', $n % 2 ? qr{^/v1/guests$} : qr{$old}) > 0 && $sql->("SELECT count(*) FROM jacksync.intent WHERE state = 'claimed'") > 0 })
	  : wait_until(sub { slurp_file($file) =~ / 0$/m });
	ok($struck, "$what: it strikes");
	if ($point eq 'cp09')
	{
		sleep 0.3;
		my @pids = split /\n/, $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
		kill $action eq 'kill' || $action eq 'exit' ? 'KILL' : 'TERM', @pids;
		wait_until(sub { !grep { kill 0, $_ } @pids });	# from then on nobody gets in before it has recovered
	}
	unlink $file;
	$pms->heal;
	my $since;
	wait_until(sub { (my $status, $since) = $node->psql('postgres', 'SELECT clock_timestamp()'); $status == 0 });
	ok(wait_until(sub {
		$node->psql('postgres', 'SELECT jacksync.sync_now()');
		my ($status, $out) = $node->psql('postgres', "SELECT bool_and(t.failure_count = 0 AND t.last_sync_at > '$since')
			AND NOT EXISTS (SELECT FROM jacksync.change)
			AND NOT EXISTS (SELECT FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL)
			AND NOT EXISTS (SELECT FROM jacksync.intent WHERE state IN ('claimed', 'unknown'))
			FROM jacksync.stream_state t");
		return $status == 0 && $out eq 't';
	}), "$what: all comes right");

	my %made = map { $_->[1] => 1 } grep { $_->[3] =~ /^api/ && ($pms->record('guests', $_->[1])->{name} // '') eq $name } grep { $_->[0] eq 'guests' } @{ $pms->history };
	is(scalar(keys %made), 1, "$what: one record for the new row");
	is($sql->("SELECT count(*) || min(external_id) FROM guests WHERE name = '$name'"), '1' . (keys %made)[0], "$what: and one row, with its id");
	is($pms->record('guests', $old)->{deleted}, JSON::PP::true, "$what: the deleted record is deleted there");
	is($sql->("SELECT count(*) FROM guests WHERE external_id = '$old'"), 0, "$what: and stays away");
	is(scalar(grep { $_->[1] eq $old && $_->[3] =~ /^api/ } @{ $pms->history }), 1, "$what: by one effect");
	return;
}

sub wait_until
{
	my ($test) = @_;
	my $end = time + 60;
	while (time < $end)
	{
		return 1 if $test->();
		sleep 0.1;
	}
	return 0;
}
