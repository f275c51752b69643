# Times without a zone in the night in which the clocks are set back (trap 12):
# half past one comes twice, and what is changed in the second of these hours
# has an earlier time than what was seen in the first.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::Local;

# ten to two in New York, for the first time; the PMS has a clock of its own
my $skew = timegm(0, 50, 5, 1, 10, 2026) - time;
my $pms = JackSync::PMS->start(script => 'dialects/cloudbeds.py', skew => $skew);
my $recipe = JackSync::Recipe->new('cloudbeds', 'https://api.cloudbeds.com' => $pms->url);
$recipe->secret(cloudbeds_api_key => 'cbat_sample');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $sync = sub { return JackSync::Recipe::cycle($node, 'reservations'); };
my $status = sub { return $sql->("SELECT status FROM reservations WHERE external_id = '$_[0]'"); };

$recipe->run($node, 'Connect', 'Tables', 'Rules', 'Reservations');
my $run = $sync->();
is("$run->{success}/$run->{created}", 't/25', 'all is loaded');
$pms->edit('reservations', '8176000000001', { status => 'no_show' });
like($pms->record('reservations', '8176000000001')->{dateModified}, qr/^2026-11-01 01:5/, 'a change before the clocks are set back');
$sync->();
is($status->('8176000000001'), 'no_show', 'arrives');

$pms->config({ skew_seconds => $skew + 1800 });
$pms->edit('reservations', '8176000000002', { status => 'no_show' });
like($pms->record('reservations', '8176000000002')->{dateModified}, qr/^2026-11-01 01:2/, 'a change after that has an earlier time');
$run = $sync->();
is($status->('8176000000002'), 'no_show', 'and arrives');
cmp_ok($pms->log->[-1]{query}{modifiedFrom}, 'lt', '2026-11-01 01:20', 'because the poll went back by the hour that came twice');

# two hours later all is as it was
$pms->config({ skew_seconds => $skew + 4 * 3600 });
$pms->edit('reservations', '8176000000003', { status => 'no_show' });
$sync->();
is($status->('8176000000003'), 'no_show', 'the next change arrives, too');
$pms->edit('reservations', '8176000000004', { status => 'no_show' });
$sync->();
is($status->('8176000000004'), 'no_show', 'and the next');
$run = $sync->();
is("$run->{success}/$run->{updated}/$run->{conflicts}/$run->{errors}", 't/0/0/0', 'then nothing is new');
done_testing();
