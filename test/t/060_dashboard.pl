# The page in a real browser: hostile names stay text, nothing is loaded,
# nothing scrolls sideways on a phone.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Utils;
use Test::More;

my $chromium = (grep { -x $_ } '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome')[0];
if (!$chromium)
{
	plan skip_all => 'chromium is not installed' unless $ENV{JACKSYNC_REQUIRE_CHROMIUM};
	BAIL_OUT('chromium is not installed');
}

my $pms = JackSync::PMS->start(reservations => 60, guests => 20);
my $node = JackSync::Node::hotel('dashboard', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $dir = PostgreSQL::Test::Utils::tempdir();
my $hostile = '<script>document.title = "owned"</script><img src=x onerror="document.title=1">&amp;"\'';

# a day in a hotel
$sql->("CALL jacksync.sync('reservations')");
$sql->("CALL jacksync.sync('guests')");
$sql->("UPDATE jacksync.authority SET strategy = 'manual' WHERE field IN ('email', 'phone')");
for my $i (1 .. 3)
{
	$sql->("UPDATE guests SET phone = '+49 30 555 $i' WHERE external_id = 'GST-00000$i'");
	$pms->edit('guests', "GST-00000$i", { phone => $i == 2 ? $hostile : "+43 1 555 $i" });
}
$sql->("CALL jacksync.sync('guests')");
$pms->edit('reservations', 'RES-000004', { adults => 'two' });
$pms->faults({ kind => 'status', status => 503, body => { message => 'night audit in progress' }, match => { path => '/v1/reservations' } });
$sql->("CALL jacksync.sync('reservations')") for 1 .. 5;
$sql->("UPDATE jacksync.stream_state SET last_sync_at = now() - interval '75 minutes' WHERE failure_count > 0");
$sql->("UPDATE reservations SET special_requests = '{cot}' WHERE external_id = 'RES-000007'");
$sql->("INSERT INTO jacksync.sync_error (entity, server, external_id, sqlstate, error, state) VALUES ('guests', 'sample_pms', 'GST-000019', '22P02', 'invalid input syntax for type date: \"soon\"', 'dead')");
$sql->("INSERT INTO jacksync.sync_run (entity, server, started, completed, success, records_processed)
	SELECT s.entity, s.server, now() - i * interval '11 min', now(), i % 17 <> 0 OR s.entity = 'guests', i % 7 FROM jacksync.stream s, generate_series(3, 130) i");
my $html = $sql->('SELECT jacksync.dashboard_html()');
open my $out, '>', "$dir/page.html" or die $!;
print $out $html;
close $out;

# browse(arguments): standard output and error of a headless browser
my $browse = sub {
	my @arguments = @_;
	my ($stdout, $stderr) = run_command([
			'timeout', '60', $chromium, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
			'--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
			'--hide-scrollbars', '--enable-logging=stderr', "--user-data-dir=$dir/profile", @arguments ]);
	return ($stdout, $stderr);
};
$ENV{HOME} = $dir;
my ($dom, $log) = $browse->('--dump-dom', "file://$dir/page.html");
like($dom, qr/<h1>jacksync/, 'the browser shows the page');
like($dom, qr/<title>jacksync: postgres<\/title>/, 'under its own title');
unlike($dom, qr/<script|<img|<iframe|<link/i, 'hostile names stay text');
like($dom, qr/&lt;script&gt;document\.title/, 'and are shown as they are');
like($dom, qr/night audit in progress/, 'what the PMS said is there');
unlike($log, qr/CONSOLE/, 'no errors in the console');

# on a phone: a frame of that width, measured from outside
open $out, '>', "$dir/phone.html" or die $!;
print $out qq{<!DOCTYPE html><body><iframe id="f" src="page.html" style="width:360px;height:780px;border:0"></iframe>
<script>onload = () => { const d = document.getElementById('f').contentDocument; document.title =
'width ' + d.documentElement.scrollWidth + ' of ' + d.documentElement.clientWidth; }</script></body>};
close $out;
($dom) = $browse->('--allow-file-access-from-files', '--virtual-time-budget=5000', '--dump-dom', "file://$dir/phone.html");
like($dom, qr/<title>width 360 of 360</, 'nothing scrolls sideways at 360 pixels');

for my $shot ([ 'wide', '1200,1600' ], [ 'dark', '1200,1600', '--blink-settings=preferredColorScheme=0' ], [ 'phone', '500,1800' ])
{
	my ($name, $size, @more) = @$shot;
	my $keep = $ENV{JACKSYNC_SHOTS} // $dir;
	$browse->("--window-size=$size", @more, "--screenshot=$keep/$name.png", "file://$dir/page.html");
	cmp_ok(-s "$keep/$name.png" // 0, '>', 20000, "it is painted: $name");
}
cmp_ok($sql->("SELECT count(*) FROM (SELECT jacksync.dashboard_html() FROM generate_series(1, 3)) x"), '==', 3, 'and again');

$node->stop;
done_testing();
