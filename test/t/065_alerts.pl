# Alerts reach people: by mail, Slack and webhook, with TLS, and whatever happens there.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use Digest::SHA qw(hmac_sha256_hex);
use HTTP::Tiny;
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

# a certificate of our own for 127.0.0.1
my $dir = PostgreSQL::Test::Utils::tempdir();
system_or_bail('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost',
	'-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost', '-keyout', "$dir/key.pem", '-out', "$dir/cert.pem");

our $pipe;
my $receiver = open $pipe, '-|', '/usr/bin/python3', "$FindBin::RealBin/../pms/receiver.py", '--cert', "$dir/cert.pem",
	'--key', "$dir/key.pem", '--password', 'post office' or die $!;
my ($mail, $hook, $control) = split ' ', scalar <$pipe>;
END { my $status = $?; kill 'KILL', $receiver if $receiver; $? = $status; }
my $http = HTTP::Tiny->new(timeout => 10);
my $ask = sub { return decode_json($http->get("http://127.0.0.1:$control/$_[0]")->{content}); };
my $behave = sub { $http->post("http://127.0.0.1:$control/behave", { content => encode_json($_[0]) }); };

my $pms = JackSync::PMS->start(reservations => 5, guests => 2);
my $node = JackSync::Node::hotel('alerts', $pms, preload => 1, poll => '1h');
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $wait = sub { JackSync::Node::wait_for($node, $_[0], $_[1]); };

$sql->("DELETE FROM jacksync.alert_channel");
$sql->("CREATE SERVER relay FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://127.0.0.1:$mail', auth 'basic', ca_file '$dir/cert.pem', timeout '5s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER relay OPTIONS (username 'jack', password 'post office');
	CREATE SERVER slack FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://127.0.0.1:$hook', ca_file '$dir/cert.pem', timeout '5s');
	CREATE USER MAPPING FOR CURRENT_USER SERVER slack OPTIONS (secret_ops 'https://127.0.0.1:$hook/services/T/B/xyzsecret', secret_signing_key 'key');
	INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients, min_level) VALUES
		('ops', 'email', 'relay', 'jack\@hotel.example', '{ops\@hotel.example,night\@hotel.example}', 'warning');
	INSERT INTO jacksync.alert_channel (channel, type, server, webhook_secret, min_level) VALUES
		('desk', 'slack', 'slack', 'ops', 'critical'), ('hook', 'webhook', 'slack', 'ops', 'warning');");

# wrong channels are refused when they are written
my ($status, $out, $err) = $node->psql('postgres', "INSERT INTO jacksync.alert_channel (channel, type, server) VALUES ('x', 'slack', 'relay')");
like($err, qr/base_url of server "relay".*\n.*\n?.*https/s, 'a channel of type slack needs https');
($status, $out, $err) = $node->psql('postgres', "UPDATE jacksync.alert_channel SET recipients = ARRAY[E'a\@b.c>\\r\\nRCPT TO:<victim\@b.c']");
like($err, qr/is no mail address/, 'an injected recipient is refused');

# a test message
$sql->("SELECT jacksync.test_channel('ops')");
$wait->("SELECT state = 'delivered' FROM jacksync.alert_delivery WHERE channel = 'ops'", 'the test message is delivered');
my $mails = $ask->('mails');
is($mails->[0]{subject}, '[info] Test message', 'its subject');
is_deeply($mails->[0]{recipients}, [ 'RCPT TO:<ops@hotel.example>', 'RCPT TO:<night@hotel.example>' ], 'its recipients');
ok($mails->[0]{secure} && $mails->[0]{authenticated}, 'over STARTTLS, with a password');
($status, $out, $err) = $node->psql('postgres', "SELECT jacksync.test_channel('nothing')");
like($err, qr/alert channel "nothing" does not exist/, 'an unknown channel');

# an outage: one alert a level, and one when it is over; never one per retry
$pms->faults({ kind => 'status', status => 503, body => { message => "<script>\n\r Subject: x" }, match => { path => '/v1/reservations' } });
my $fail = sub { $sql->("SELECT jacksync.sync_now('reservations')");
	$wait->("SELECT failure_count >= $_[0] FROM jacksync.status WHERE entity = 'reservations'", "failure $_[0]"); };
$fail->($_) for 1 .. 6;
$wait->("SELECT count(*) = 2 FROM jacksync.alert_delivery WHERE state = 'delivered' AND channel IN ('desk', 'hook')", 'Slack and the webhook got the alert');
$pms->heal;
$sql->("SELECT jacksync.sync_now('reservations')");
$wait->("SELECT count(*) = 3 FROM jacksync.alert_delivery JOIN jacksync.alert USING (alert_id) WHERE state = 'delivered' AND title = 'PMS Sync Recovered'", 'the end is told');
$wait->("SELECT count(*) = 0 FROM jacksync.alert_delivery WHERE state = 'pending'", 'nothing waits');
$mails = $ask->('mails');
my @subjects = map { $_->{subject} } @$mails;
is_deeply([ @subjects[1, 2] ], [ '[warning] PMS Sync Failures (reservations from sample_pms)',
	'[critical] PMS Sync Critical Failure (reservations from sample_pms)' ], 'warning, then critical, by mail');
is(scalar(grep { /critical/i } @subjects), 1, 'once');
is_deeply([ @subjects[3 .. $#subjects] ], ['[info] PMS Sync Recovered (reservations from sample_pms)'], 'and once that it is over');
like($mails->[3]{body}, qr/^PMS sync has recovered after 6 failures\./, 'after how many failures');
like($mails->[1]{body}, qr/^PMS sync has failed 3 times\. Investigating\./, 'with the words of the alert');
like($mails->[2]{body}, qr/What the PMS said: .*503.*<script>/, 'and of the PMS, as text');
is_deeply([ map { $_->{bare_lf} + $_->{defects} } @$mails ], [ (0) x @$mails ], 'no bare line feeds, valid MIME');
cmp_ok($_->{longest}, '<=', 78, 'lines are short') for $mails->[2];
my $posts = $ask->('posts');
my @slack = grep { !$_->{headers}{'X-Jacksync-Signature'} } @$posts;
my @hooks = grep { $_->{headers}{'X-Jacksync-Signature'} } @$posts;
is($slack[0]{path}, '/services/T/B/xyzsecret', 'Slack is posted to the address in the mapping');
my $text = decode_json($slack[0]{body})->{text};
like($text, qr/PMS sync has failed 5 consecutive times\. Immediate attention required\./, 'with the words of the alert');
like($text, qr/&lt;script&gt;/, 'in which nothing is markup');
is($hooks[0]{headers}{'X-Jacksync-Signature'},
	'sha256=' . hmac_sha256_hex("$hooks[0]{headers}{'X-Jacksync-Timestamp'}.$hooks[0]{body}", 'key'), 'the webhook is signed');
is(decode_json($hooks[0]{body})->{alerts}[0]{level}, 'warning', 'and says what it is about');

# a relay that refuses for good, one that wants us later, one that is away, one that hangs
# (messages close to one another are gathered for a minute: let it be past)
my $calm = sub { $sql->("UPDATE jacksync.alert_delivery SET delivered_at = delivered_at - interval '10 minutes' WHERE delivered_at IS NOT NULL; SELECT jacksync.wake_worker()"); };
$calm->();
my $try = sub { my ($how) = @_; $behave->({ mail => $how }); return $sql->("SELECT jacksync.test_channel('ops')"); };
my $id = $try->('reject');
$wait->("SELECT state = 'dead' AND last_error ~ '550' FROM jacksync.alert_delivery WHERE alert_id = $id", 'refused for good: dead, with its reason');
$id = $try->('later');
$wait->("SELECT state = 'pending' AND last_error ~ '451' AND attempts = 1 AND next_attempt_at > now() FROM jacksync.alert_delivery WHERE alert_id = $id", 'refused for now: tried later');
my $dropped = $try->('drop');
$wait->("SELECT state = 'pending' AND last_error IS NOT NULL FROM jacksync.alert_delivery WHERE alert_id = $dropped", 'away: tried later');
my $slow = $try->('slow');
my $began = time;
$sql->("CALL jacksync.sync('guests')");
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT last_sync > to_timestamp($began) FROM jacksync.status WHERE entity = 'guests'", 'a relay that hangs does not hold up the worker');
cmp_ok(time - $began, '<', 4, 'at all');
$wait->("SELECT last_error ~ 'did not answer in time' FROM jacksync.alert_delivery WHERE alert_id = $slow", 'and is given up after the time-out');
$behave->({ mail => 'ok' });
$sql->("UPDATE jacksync.alert_delivery SET next_attempt_at = now() WHERE state = 'pending'; SELECT jacksync.wake_worker()");
$wait->("SELECT count(*) = 0 FROM jacksync.alert_delivery WHERE state = 'pending'", 'all arrive when it is back');
$calm->();
$behave->({ post => 404 });
$id = $sql->("SELECT jacksync.test_channel('desk')");
$wait->("SELECT state = 'dead' AND last_error ~ '404' FROM jacksync.alert_delivery WHERE alert_id = $id", 'a webhook that is gone: dead');
$behave->({ post => 500 });
$id = $sql->("SELECT jacksync.test_channel('desk')");
$wait->("SELECT state = 'pending' AND last_error ~ '500' FROM jacksync.alert_delivery WHERE alert_id = $id", 'a webhook that has a bad day: tried later');
$behave->({ post => 200 });
is($sql->("SELECT count(*) FROM jacksync.alert_delivery WHERE last_error ~ 'xyzsecret'"), 0, 'the address of the webhook is in no error');

# a certificate that nobody vouches for
$sql->("ALTER SERVER slack OPTIONS (DROP ca_file)");
$id = $sql->("SELECT jacksync.test_channel('desk')");
$wait->("SELECT state = 'pending' AND last_error ~ 'TLS with the webhook failed' FROM jacksync.alert_delivery WHERE alert_id = $id", 'TLS is verified');
$sql->("ALTER SERVER slack OPTIONS (ADD ca_file '$dir/cert.pem')");
$sql->("DROP USER MAPPING FOR CURRENT_USER SERVER slack");
$id = $sql->("SELECT jacksync.test_channel('hook')");
$wait->("SELECT last_error ~ 'secret_ops' FROM jacksync.alert_delivery WHERE alert_id = $id", 'a missing secret is named');

# a storm is one message
my $before = @{ $ask->('mails') };
$sql->("DO \$\$ BEGIN FOR i IN 1..300 LOOP PERFORM jacksync.alert_raise('storm:' || i, 'critical', 'Storm ' || i, 'x', 'reservations', 'sample_pms'); END LOOP; END \$\$");
$calm->();
$wait->("SELECT count(*) = 300 FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id) WHERE kind LIKE 'storm%' AND channel = 'ops' AND state = 'delivered'", '300 alerts at once');
is(@{ $ask->('mails') } - $before, 1, 'are one mail');
like($ask->('mails')->[-1]{subject}, qr/^\[critical\] 300 alerts: Storm 1 /, 'that says how many');

# silence
$sql->("SELECT jacksync.silence_alerts('1 hour', reason => 'works at the PMS')");
$before = @{ $ask->('mails') };
$sql->("SELECT jacksync.alert_raise('quiet', 'critical', 'Quiet', 'x', 'guests', 'sample_pms')");
select undef, undef, undef, 1.5;
is(@{ $ask->('mails') } - $before, 0, 'silenced: nothing is sent');
$sql->("SELECT jacksync.silence_alerts('0')");
$wait->("SELECT state = 'delivered' FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id) WHERE kind = 'quiet' AND channel = 'ops'", 'when the silence is over it is');
is($sql->("SELECT count(*) FROM jacksync.audit_log WHERE after_state ? 'alerts_silenced'"), 2, 'both are audited');

$node->stop;
done_testing();
