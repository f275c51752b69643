# HTTP/2, which is what libcurl and a PMS in the cloud agree on: the same as
# over HTTP/1.1; and whatever a server may do to a stream or a connection,
# nothing is lost and nothing acts twice.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP;
use JackSync::Node;
use JackSync::PMS;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my ($nghttpx) = grep { -x } map { "$_/nghttpx" } split(/:/, $ENV{PATH}), '/usr/sbin', '/sbin';
if (!$nghttpx)
{
	plan skip_all => 'nghttpx is not installed (package nghttp2-proxy)' unless $ENV{JACKSYNC_REQUIRE_NGHTTPX};
	die 'nghttpx is not installed (package nghttp2-proxy)';
}

# whatever hangs is a failure that says where
$SIG{ALRM} = sub { require Carp; Carp::confess('too slow'); };
alarm 300;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $json = JSON::PP->new->utf8->canonical;
system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost',
	'-keyout', "$dir/key.pem", '-out', "$dir/ca.pem");

# a proxy that speaks HTTP/2 in front of a PMS; it is two processes at least
my %proxies;
my $no_ocsp = (run_command([ $nghttpx, '--help' ]))[0] =~ /--no-ocsp/ ? 1 : 0;
sub proxy
{
	my ($name, $pms, %options) = @_;
	my $port = $proxies{$name}{port} //= PostgreSQL::Test::Cluster::get_free_port();
	my $start = sub {
		my $pid = fork // die "fork: $!";
		return $pid if $pid;
		setpgrp;
		open STDOUT, '>', '/dev/null';
		exec $nghttpx, '--conf=/dev/null', '--workers=1', "--frontend=127.0.0.1,$port" . ($options{tls} ? '' : ';no-tls'),
		  '--backend=127.0.0.1,' . $pms->port, "--accesslog-file=$dir/$name.log", '--accesslog-format=$alpn $protocol_version $status $method $path',
		  "--errorlog-file=$dir/$name.err", '--no-location-rewrite', '--no-server-rewrite', ($no_ocsp ? '--no-ocsp' : ()),
		  ($options{tls} ? () : ('--frontend-http2-decoder-dynamic-table-size=0', '--frontend-http2-encoder-dynamic-table-size=0')),
		  ($options{tls} ? ("$dir/key.pem", "$dir/ca.pem") : ())
		  or POSIX::_exit(1);
	};
	my $pid = $start->();
	@{ $proxies{$name} }{qw(pid again)} = ($pid, sub { return proxy($name, $pms, %options); });
	for (1 .. 300)
	{
		my $listens = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
		sleep 0.1;
		# one that ended has found the port still in use
		if (waitpid($pid, POSIX::WNOHANG()) > 0) { $proxies{$name}{pid} = $pid = $start->(); }
		elsif ($listens) { return $port; }
	}
	die "the proxy $name does not listen: " . (-e "$dir/$name.err" ? slurp_file("$dir/$name.err") : '');
}
# all of its processes at once
sub kill_proxy
{
	my ($name) = @_;
	my $pid = delete $proxies{$name}{pid} // return;
	kill 'KILL', -$pid;
	waitpid $pid, 0;
	return;
}
my $relay_pid;
END { my $status = $?; kill_proxy($_) for keys %proxies; kill 'TERM', $relay_pid if $relay_pid; $? = $status; }

my $pms = JackSync::PMS->start(reservations => 120, guests => 60);
my $plain = JackSync::PMS->start(reservations => 120, guests => 60);
my $node;
{
	local $pms->{tls_port} = proxy('direct', $pms, tls => 1);
	$node = JackSync::Node::hotel('http2', $pms);
	$node->safe_psql('postgres', "ALTER SERVER sample_pms OPTIONS (ADD ca_file '$dir/ca.pem'); CREATE DATABASE plain");
	$node->safe_psql('plain', 'CREATE EXTENSION jacksync');
	JackSync::Node::configure($node, 'plain', $plain, '1h');
}
my $push = $json->encode({ read => { path => '/v1/guests/{record.id}' }, if_match => 'etag', idempotency_header => 'Idempotency-Key',
	update => { method => 'PATCH', path => '/v1/guests/{record.id}' }, delete => { path => '/v1/guests/{record.id}' },
	create => { path => '/v1/guests', constants => { reference => '{record.reference}' } },
	find => { path => '/v1/guests', query => { reference => '{record.reference}' }, record_path => '$.data[*]' }, reference_path => '$.reference' });

# The same over both: pages, versions, a pause, what is told, an id in a header
sub day_at_the_hotel
{
	my ($database, $at) = @_;
	my $sql = sub { return $node->safe_psql($database, $_[0]); };
	my $sync = sub { my ($status, $out, $err) = $node->psql($database, "CALL jacksync.sync('$_[0]')"); return (split /\|/, $out, -1)[3] . ($err =~ /busy, waiting/ ? ' waited' : ''); };
	my @runs;

	$sql->(qq(UPDATE jacksync.authority SET strategy = 'latest_wins' WHERE entity = 'guests' AND field = 'phone'; UPDATE jacksync.stream SET paginator = paginator || '{"page_size": 25}', lookback_window = '0';
		UPDATE jacksync.stream SET push = '$push' WHERE entity = 'guests'; UPDATE jacksync.entity SET on_local_delete = 'push' WHERE entity = 'guests'));
	push @runs, $sync->($_) for qw(guests reservations);
	$at->edit('guests', 'GST-000001', { name => 'Edited There' });
	$at->faults({ kind => 'status', status => 429, headers => { 'Retry-After' => '1' }, match => { method => 'GET' }, count => 1 });
	push @runs, $sync->('guests');
	$sql->("UPDATE guests SET phone = 'vip' WHERE external_id = 'GST-000002'");
	push @runs, $sync->('guests');
	$at->faults({ kind => 'status', status => 412, match => { method => 'PATCH' }, count => 1 });
	$at->edit('guests', 'GST-000003', { name => 'Newer There' });
	$sql->("UPDATE guests SET phone = 'press' WHERE external_id = 'GST-000003'");
	push @runs, $sync->('guests');
	$at->config({ create_answer => 'location' });
	$sql->("INSERT INTO guests (name, tags) VALUES ('New Here', '{new}'); DELETE FROM guests WHERE external_id = 'GST-000004'");
	push @runs, $sync->('guests');
	$at->config({ create_answer => 'record' });

	my @log = @{ $at->log };
	my ($busy) = grep { ($log[$_]{status} // 0) == 429 } 0 .. $#log;
	cmp_ok($log[ $busy + 1 ]{time} - $log[$busy]{time}, '>=', 0.95, "$database: Retry-After is kept to");
	my @requests;
	for my $request (@log)
	{
		my %header = map { (lc $_ => $request->{headers}{$_}) } keys %{ $request->{headers} };
		my $line = join ' ', $request->{method}, $request->{path}, $request->{status}, $request->{query}{page} // '-', $header{'if-match'} // '-',
		  $header{'idempotency-key'} // '-', $header{'accept-encoding'} // '-', $header{'content-type'} // '-', $request->{body};
		$line =~ s/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/KEY/g;
		push @requests, $line;
	}
	return { runs => \@runs, requests => \@requests, guests => $sql->('SELECT external_id, name, phone, tags FROM guests ORDER BY 1'),
		reservations => $sql->('SELECT to_jsonb(r) FROM reservations r ORDER BY external_id'),
		states => $sql->("SELECT sync_status, count(*) FROM jacksync.record GROUP BY 1 ORDER BY 1"),
		there => [ map { @$_[ 0 .. 2 ] } @{ $at->history } ] };
}
my $two = day_at_the_hotel('postgres', $pms);
my $one = day_at_the_hotel('plain', $plain);
is_deeply($two, $one, 'a day over HTTP/2 is as one over HTTP/1.1');
is("@{ $two->{runs} }", 't t t waited t t t', 'and a good one');
is(scalar(grep { m{^GET /v1/guests 200 [123] } } @{ $two->{requests} }) >= 3, 1, 'pages');
is_deeply([ map { join ' ', (split / /)[ 0, 2, 4, 5 ] } grep { m{^PATCH|^POST /v1|^DELETE} } @{ $two->{requests} } ],
	[ 'PATCH 200 "1" KEY', 'PATCH 412 "2" KEY', 'PATCH 200 "2" KEY', 'DELETE 204 "1" KEY', 'POST 201 - KEY' ], 'versions and keys with what is told')
  or diag(explain($two->{requests}));
my @access = split /\n/, slurp_file("$dir/direct.log");
is(scalar(grep { !/^h2 HTTP\/2(?:\.0)? \d/ } @access), 0, 'HTTP/2 was spoken') or diag(explain(\@access));
is(scalar(@access), scalar(@{ $pms->log }), 'for every request that came to the PMS');

# Streams and connections that break.  The relay hands on frames, and spoils some.
proxy('behind', $pms);
our $said;    # a handle that goes out of scope waits for its process
$relay_pid = open $said, '-|', '/usr/bin/python3', "$FindBin::RealBin/../pms/h2_relay.py", '--cert', "$dir/ca.pem", '--key', "$dir/key.pem", '--to', $proxies{behind}{port}
  or die "could not start the relay: $!";
my ($relay, $control) = split ' ', <$said> // die 'the relay did not say its ports';
my $http = HTTP::Tiny->new(timeout => 20);
sub script { my (@steps) = @_; my $answer = $http->post("http://127.0.0.1:$control/script", { content => $json->encode(\@steps) }); die $answer->{content} unless $answer->{success}; return; }
sub relayed { return $json->decode($http->get("http://127.0.0.1:$control/log")->{content}); }

my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('guests')"); return [ (split /\|/, $out, -1)[ 3, 11 ] ]; };
# what was done at the PMS since: requests that came, and those that acted
sub since
{
	my ($requests, $acts, $method) = @_;
	my @requests = grep { $_->{method} eq $method && $_->{path} =~ m{^/v1/} } @{ $pms->log }[ $requests .. $#{ $pms->log } ];
	my @acts = grep { $_->[3] =~ /^api/ } @{ $pms->history }[ $acts .. $#{ $pms->history } ];
	return scalar(@requests) . ' came, ' . scalar(@acts) . ' acted';
}
$sql->("ALTER SERVER sample_pms OPTIONS (SET base_url 'https://localhost:$relay')");
script();
is($sync->()->[0], 't', 'through the relay');

# [ to which request, what is done, why the run fails (1: if it does) ]
my $once = qr/not sent twice|not closed cleanly|reset|recv|receiv|read/i;
my $guest = 10;
my %does = (
	PATCH => sub { $sql->("UPDATE guests SET phone = '$_[0]' WHERE external_id = 'GST-0000$guest'"); },
	POST => sub { $sql->("INSERT INTO guests (name) VALUES ('$_[0]')"); },
	DELETE => sub { $sql->("DELETE FROM guests WHERE external_id = 'GST-0000$guest'"); },
	GET => sub { $pms->edit('guests', "GST-0000$guest", { name => $_[0] }); });
for my $case (
	# not seen by the server: libcurl may send it once more, if it still has all of it
	[ GET => { do => 'refuse' }, 1 ],
	[ GET => { do => 'goaway' }, 1 ],
	[ PATCH => { do => 'refuse' }, 1 ],
	[ PATCH => { do => 'refuse', code => 13 }, 1 ],
	[ PATCH => { do => 'goaway' }, 1 ],
	[ PATCH => { do => 'cut_early' }, 1 ],
	[ POST => { do => 'refuse' }, 1 ],
	[ POST => { do => 'goaway' }, 1 ],
	[ DELETE => { do => 'refuse' }, 1 ],
	[ DELETE => { do => 'goaway' }, 1 ],
	# which it has not then
	[ PATCH => { do => 'late' }, qr/not sent twice/ ],
	[ PATCH => { do => 'late', code => 13 }, qr/not sent twice/ ],
	[ POST => { do => 'late' }, qr/not sent twice/ ],
	# it broke, and nobody knows what the server saw
	[ GET => { do => 'reset' }, qr/stream \d+ .*INTERNAL_ERROR/ ],
	[ GET => { do => 'reset', code => 11 }, qr/stream \d+ .*ENHANCE_YOUR_CALM/ ],
	[ GET => { do => 'half' }, qr/\w/ ],
	[ GET => { do => 'garbage' }, qr/\w/ ],
	[ PATCH => { do => 'cut' }, $once ],
	[ PATCH => { do => 'reset' }, qr/stream \d+ .*INTERNAL_ERROR/ ],
	[ PATCH => { do => 'half' }, qr/\w/ ],
	[ PATCH => { do => 'garbage' }, qr/\w/ ],
	[ POST => { do => 'cut' }, $once ],
	[ POST => { do => 'reset' }, qr/stream \d+ .*INTERNAL_ERROR/ ],
	[ DELETE => { do => 'cut' }, qr/\w/ ],
	[ DELETE => { do => 'reset' }, qr/stream \d+ .*INTERNAL_ERROR/ ])
{
	my ($method, $step, $error) = @$case;
	my $what = join ' ', $method, map { $step->{$_} } reverse sort keys %$step;
	my $value = $what =~ tr/ /_/r;
	my @before = (scalar @{ $pms->log }, scalar @{ $pms->history });
	$does{$method}->($value);
	script({ %$step, write => $method eq 'GET' ? JSON::PP::false : JSON::PP::true });
	my $run = $sync->();
	is($run->[0], 'f', "$what: a failure") if $error ne '1';
	like($run->[1], qr/^the (?:connection to the PMS broke|answer of the PMS makes no sense) \(host "localhost"\): .*${\($error eq '1' ? '\w' : $error)}/, "$what: in words") if $error ne '1' || $run->[0] ne 't';
	note("$what: $run->[0] $run->[1]");
	is(scalar(@{ relayed()->{left} }), 0, "$what: it was done");
	for (1 .. 4)
	{
		last if $sql->("SELECT (SELECT count(*) FROM jacksync.intent WHERE state NOT IN ('done', 'rejected', 'superseded'))
			+ (SELECT count(*) FROM jacksync.record WHERE entity = 'guests' AND NOT deleted AND sync_status <> 'synced')") eq '0' && $run->[0] eq 't';
		$run = $sync->();
	}
	is($run->[0], 't', "$what: all is well again") or diag($run->[1]);
	if ($method eq 'GET')
	{
		is($sql->("SELECT name FROM guests WHERE external_id = 'GST-0000$guest'"), $value, "$what: nothing is lost");
	}
	else
	{
		is(since(@before, $method), '1 came, 1 acted', "$what: once");
		is($pms->record('guests', "GST-0000$guest")->{phone}, $value, "$what: with its value") if $method eq 'PATCH';
	}
	$guest++;
}
is($sql->("SELECT count(*) FROM jacksync.sync_error WHERE state <> 'resolved'"), 0, 'no error is left');

# A write that has a connection of its own shares it with nobody.  If a read were
# sent over it, libcurl would take it for one that was used before, and repeat the write.
$sql->("UPDATE jacksync.stream SET poll_interval = '150 ms'; SELECT jacksync.start_worker()");
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND last_sync > now() - interval '5 s'", 'a worker reads');
$pms->faults({ kind => 'slow', seconds => 2, match => { method => 'DELETE' } });
script({ do => 'alone', write => JSON::PP::true });
my @before = (scalar @{ $pms->log }, scalar @{ $pms->history });
$sql->("DELETE FROM guests WHERE external_id = 'GST-000050'");
JackSync::Node::wait_for($node, "SELECT deleted AND NOT EXISTS (SELECT FROM jacksync.intent WHERE state NOT IN ('done', 'rejected', 'superseded')) FROM jacksync.record WHERE external_id = 'GST-000050'",
	'a delete whose connection breaks, while others read');
is(since(@before, 'DELETE'), '1 came, 1 acted', 'came once');
my ($write) = grep { $_->[3] } @{ relayed()->{log} };
is(scalar(grep { $_->[0] == $write->[0] } @{ relayed()->{log} }), 1, 'over a connection of its own');
$pms->heal;

# The proxy is restarted, gently and not, while the worker tells what is edited
$sql->("ALTER SERVER sample_pms OPTIONS (SET base_url 'https://localhost:$proxies{direct}{port}')");
JackSync::Node::wait_for($node, "SELECT count(*) = 2 FROM jacksync.status WHERE status = 'connected' AND last_sync > now() - interval '3 s'", 'it reads from there');
$pms->faults({ kind => 'slow', seconds => 0.05, match => { path => '^/v1/' } });
@before = (scalar @{ $pms->log }, scalar @{ $pms->history });
my $edits = 0;
for my $round (1 .. 8)
{
	for my $n (51 .. 54)
	{
		$sql->("UPDATE guests SET phone = 't$round' WHERE external_id = 'GST-0000$n'");
		$edits++;
	}
	sleep 0.1;
	if ($round % 4 == 0) { kill_proxy('direct'); $proxies{direct}{again}->(); }
	elsif ($round % 4 == 2) { kill 'HUP', $proxies{direct}{pid}; }
}
$pms->heal;
my $calm = "SELECT NOT EXISTS (SELECT FROM jacksync.change) AND NOT EXISTS (SELECT FROM jacksync.link WHERE dirty OR intent_id IS NOT NULL) AND bool_and(failure_count = 0) FROM jacksync.stream_state";
for (1 .. 300) { last if $sql->("SELECT jacksync.sync_now(); $calm") =~ /t$/; sleep 0.2; }
JackSync::Node::wait_for($node, $calm, 'all comes to rest');
is_deeply([ map { $pms->record('guests', "GST-0000$_")->{phone} } 51 .. 54 ], [ ('t8') x 4 ], 'and the last edits are there');
my (%acted, %come);
$acted{ $_->[3] }++ for grep { $_->[3] =~ /^api / } @{ $pms->history };
is(scalar(grep { $_ > 1 } values %acted), 0, 'no key acted twice');
$come{ (grep { lc $_->[0] eq 'idempotency-key' } map { my $h = $_->{headers}; map { [ $_, $h->{$_} ] } keys %$h } $_)[0][1] }++
  for grep { $_->{method} eq 'PATCH' } @{ $pms->log }[ $before[0] .. $#{ $pms->log } ];
is($sql->("SELECT count(*) FROM jacksync.open_conflict"), 0, 'nobody was in anybody\'s way');
note(scalar(keys %come) . " pushes of $edits edits, " . scalar(grep { $_ > 1 } values %come) . ' of them asked again by their key');

# The proxy ends in the middle of an exchange: gently, and the answer comes; or not
for my $how (qw(QUIT KILL))
{
	my $id = $how eq 'QUIT' ? 'GST-000055' : 'GST-000056';
	@before = (scalar @{ $pms->log }, scalar @{ $pms->history });
	$pms->faults({ kind => 'hold', match => { method => 'PATCH' } });
	$sql->("UPDATE guests SET phone = '$how' WHERE external_id = '$id'");
	for (1 .. 600) { last if since(@before, 'PATCH') =~ /^1/; sleep 0.1; }
	if ($how eq 'KILL') { kill_proxy('direct'); }
	else { kill 'QUIT', $proxies{direct}{pid}; sleep 0.3; }    # GOAWAY, and its end when all is answered
	$pms->heal;
	JackSync::Node::wait_for($node, "SELECT state = 'done' FROM jacksync.intent WHERE external_id = '$id' ORDER BY intent_id DESC LIMIT 1", 'QUIT: the answer still came') if $how eq 'QUIT';
	kill_proxy('direct');
	$proxies{direct}{again}->();
	$sql->('SELECT jacksync.sync_now()');
	JackSync::Node::wait_for($node, "SELECT state = 'done' FROM jacksync.intent WHERE external_id = '$id' ORDER BY intent_id DESC LIMIT 1", "$how: it is known what became of it");
	is(since(@before, 'PATCH'), '1 came, 1 acted', "$how: it came once");
	is($pms->record('guests', $id)->{phone}, $how, "$how: the PMS has it");
}
is(scalar(grep { !/^h2 HTTP\/2(?:\.0)? \d/ } split /\n/, slurp_file("$dir/direct.log")), 0, 'all of it was HTTP/2');

# No secret stands anywhere that people read
my $words = $sql->("SELECT coalesce(string_agg(error, E'\\n'), '') FROM jacksync.sync_run") . $sql->("SELECT coalesce(string_agg(error || message, E'\\n'), '') FROM (SELECT error, '' AS message FROM jacksync.sync_error UNION ALL SELECT '', message FROM jacksync.alert) e")
  . join "\n", grep { /PMS|jacksync/ && !/statement:/ } split /\n/, slurp_file($node->logfile);
unlike($words, qr/hotel-secret|Bearer |Basic /, 'no secret is in what is told');
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal 11/, 'nothing crashed');
done_testing();
