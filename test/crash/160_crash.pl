# Crash points: whatever dies, wherever it dies, nothing is lost, nothing is
# sent twice, and both sides come to agree.
#
# Needs a build with -DJACKSYNC_FAULTS (src/faultpoint.h): "make check" and
# "make crash" make one.  CRASH=full runs every point with every action.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time sleep);
use Test::More;

# where it can happen, and which processes get there
my %points = (
	cp01 => 'a change is captured, and not committed',
	cp02 => 'a page has come',
	cp03 => 'changes are taken up, not committed',
	cp04 => 'the last page is applied, the watermark has not moved',
	cp05 => 'a row is written, not committed',
	cp06 => 'a page is committed',
	cp07 => 'a claim is made, not committed',
	cp08 => 'a claim is committed, nothing is sent',
	cp09 => 'a request is sent, its answer has not come',
	cp10 => 'an answer has come, and is not recorded',
	cp11 => 'an answer is recorded, not committed',
	cp12 => 'an answer is recorded',
	cp15 => 'the watermark has moved, not committed');
my @actions = qw(kill error postmaster exit fatal immediate terminate);
my @some = qw(cp08:kill cp10:error cp11:postmaster cp05:exit cp09:terminate cp02:fatal cp07:kill cp04:immediate
  cp10:kill cp01:kill cp12:error cp06:kill cp03:error cp09:postmaster cp15:kill cp11:error cp08:terminate);
my @cases = ($ENV{CRASH} // '') eq 'full'
  ? map { my $point = $_; map { "$point:$_" } @actions } sort keys %points : @some;

my $pms = JackSync::PMS->start(reservations => 12, guests => 2);
my $node = JackSync::Node::hotel('crash', $pms, preload => 1, poll => '200 ms', conf => "restart_after_crash = on\n");
my $file = $node->data_dir . '/jacksync.faults';
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected'", 'loaded');

my $n = 0;
for my $case (@cases)
{
	my ($point, $action) = split /:/, $case;
	one($point, $action);
}

# The same in a session: CALL sync() is the same machine
stop_worker();
for my $case (($ENV{CRASH} // '') eq 'full' ? @cases : qw(cp08:kill cp10:error cp11:terminate cp05:error cp09:immediate))
{
	my ($point, $action) = split /:/, $case;
	one($point, $action, 1) if $point ne 'cp01';
}

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal (6|11)/, 'nothing crashed but what was told to');
done_testing();

# One crash: edits on both sides, the fault, healing, and the account.
sub one
{
	my ($point, $action, $session) = @_;
	my ($a, $b, $c) = map { sprintf 'RES-%06d', 1 + (3 * $n + $_) % 12 } 0 .. 2;
	my $token = 'T' . ++$n;
	my $name = ($session ? 'CALL sync(), ' : '') . "$point $action";
	my $edit = "UPDATE reservations SET special_requests = coalesce(special_requests, '{}') || '{$token}'::text[] WHERE external_id IN ('$a', '$c')";
	my $before = @{ $pms->history };

	# edits on either side, and on both
	$pms->control('POST', "edit/reservations/$b", { roomNumber => "$token" });
	$pms->faults({ kind => 'hang_after_apply', match => { method => 'PATCH', path => '/v1/' } }) if $point eq 'cp09';
	set_fault($point, $action) unless $point eq 'cp09';
	my $status = $node->psql('postgres', $edit);
	my $refused = $status != 0;
	$pms->control('POST', "append/reservations/$c", { specialRequests => ["P$token"] });
	my $caller;
	if ($session)
	{
		$caller = $node->background_psql('postgres', on_error_stop => 0);
		$caller->{stdin} .= "CALL jacksync.sync('reservations');\n";
		$caller->{run}->pump_nb;
	}
	my $struck = $point eq 'cp09' ? wait_until(sub { $pms->requests('PATCH', qr/$a|$c/) > 0 && grep { ($_->{body} // '') =~ /"$token"/ } @{ $pms->log } })
	  : wait_until(sub { slurp_file($file) =~ / 0$/m });
	ok($struck, "$name: it strikes ($points{$point})");
	finish_off($point, $action, $session);
	unlink $file;
	$pms->heal;
	eval { $caller->{run}->kill_kill; } if $caller;

	# healed, all comes right
	my $quiet = quiet($session);
	ok($quiet, "$name: all comes right") or diag(state());
	my @there = map { $pms->record('reservations', $_)->{specialRequests} // [] } $a, $c;
	my @here = split /\n/, $node->safe_psql('postgres', "SELECT array_to_string(special_requests, ';') FROM reservations WHERE external_id IN ('$a', '$c') ORDER BY external_id = '$c'");
	is(join(' | ', map { join ';', sort split /;/ } @here), join(' | ', map { join ';', sort @$_ } @there), "$name: both sides are the same");
	# who lost the connection cannot know: the crash may have come between the commit and its word
	$refused = 0 if $status == 2 && grep { grep { $_ eq $token } split /;/ } @here;
	my $found = grep { grep { $_ eq $token } @$_ } @there;
	is($found, $refused ? 0 : 2, "$name: " . ($refused ? 'what was not committed is nowhere' : 'nothing is lost'));
	is($node->safe_psql('postgres', "SELECT room_number FROM reservations WHERE external_id = '$b'"), $token, "$name: the PMS's change is here");
	ok((grep { $_ eq "P$token" } @{ $there[1] }), "$name: and so is the other one");

	# effects at the PMS since: every key once, the quiet record written once
	my @history = @{ $pms->history };
	my (%keys, $writes);
	for my $entry (@history[$before .. $#history])
	{
		my ($coll, $id, $version, $cause) = @$entry;
		next unless $cause =~ /^api (.*)/;
		$keys{$1}++;
		$writes++ if $id eq $a;
	}
	ok(!(grep { $_ > 1 } values %keys), "$name: no intent acts twice");
	is($writes // 0, $refused ? 0 : 1, "$name: one change, one effect");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM jacksync.manual_conflict'), 0, "$name: no conflict") if $n == @cases;
	return;
}

# Let a point strike once.
sub set_fault
{
	my ($point, $action) = @_;
	my $what = $action eq 'immediate' || $action eq 'terminate' ? 'sleep' : $action;
	open my $handle, '>', "$file.tmp" or die "$file.tmp: $!";
	print $handle "$point $what 1\n";
	close $handle;
	chmod 0600, "$file.tmp";
	rename "$file.tmp", $file or die "$file: $!";
	return;
}

# The point was reached: what is to be done from outside, and the restart.
sub finish_off
{
	my ($point, $action, $session) = @_;
	my $who = $session ? "query LIKE 'CALL%'" : "backend_type = 'jacksync worker'";
	my $victim = "SELECT pid FROM pg_stat_activity WHERE $who";
	$victim = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'UPDATE reservations%' AND state = 'active'" if $point eq 'cp01';

	if ($action eq 'immediate')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($action eq 'terminate' || ($point eq 'cp09' && $action =~ /error|fatal/))
	{
		$node->psql('postgres', "SELECT pg_terminate_backend(pid) FROM ($victim) v");
	}
	elsif ($point eq 'cp09' && $action =~ /kill|exit/)
	{
		my $pid = $node->safe_psql('postgres', $victim);
		kill 'KILL', split /\n/, $pid;
		wait_until(sub { !grep { kill 0, $_ } split /\n/, $pid });
	}
	elsif ($action eq 'postmaster')
	{
		$node->kill9;
		# what is left of the cluster must be gone before another may start
		sleep 0.5;
		wait_until(sub { $node->kill9; $node->start(fail_ok => 1); });
	}
	wait_until(sub { my ($status, $out) = $node->psql('postgres', 'SELECT 1'); $status == 0 && $out eq '1' });
	return;
}

# Wait until nothing is left to be done.
sub quiet
{
	my ($session) = @_;
	my $since;
	wait_until(sub { (my $status, $since) = $node->psql('postgres', 'SELECT clock_timestamp()'); $status == 0 });
	return wait_until(sub {
		$session ? $node->psql('postgres', "CALL jacksync.sync()") : $node->psql('postgres', 'SELECT jacksync.sync_now()');
		my ($status, $out) = $node->psql('postgres', "SELECT bool_and(t.failure_count = 0 AND t.last_sync_at > '$since')
			AND NOT EXISTS (SELECT FROM jacksync.change)
			AND NOT EXISTS (SELECT FROM jacksync.record WHERE sync_status <> 'synced')
			AND NOT EXISTS (SELECT FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL)
			AND NOT EXISTS (SELECT FROM jacksync.intent WHERE state IN ('claimed', 'unknown'))
			FROM jacksync.stream_state t");
		return $status == 0 && $out eq 't';
	});
}

# No worker from here on.
sub stop_worker
{
	$node->append_conf('postgresql.conf', "jacksync.databases = ''");
	$node->reload;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
	$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jacksync worker'");
	return;
}

# Try until it is so; at most a minute.
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

# What is left, for a diagnosis.
sub state
{
	my ($status, $out) = $node->psql('postgres', "SELECT external_id, sync_status, l.dirty, l.must_pull, i.state FROM jacksync.record r JOIN jacksync.link l USING (record_id, external_id) LEFT JOIN jacksync.intent i USING (intent_id) WHERE sync_status <> 'synced' OR l.dirty;
		SELECT 'stream', stream_id, failure_count, last_error FROM jacksync.stream_state");
	return $out;
}
