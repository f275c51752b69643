# doc/pms/own.md, statement by statement, against the PMS of the other tests.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Recipe;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(guests => 230, reservations => 0, rooms => 0);
my $recipe = JackSync::Recipe->new('own', 'https://pms.example.com' => $pms->url);
$recipe->secret(own_client_secret => 'hotel-secret');
my $node = $recipe->node;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };

$recipe->run($node, 'Log in', 'A table', 'The first request', 'Fields');
is($sql->("SELECT value FROM jacksync.preview_stream('guests', 'pms') WHERE external_id = 'GST-000001' AND field = 'email'"),
	'"guest1@example.com"', 'what would be read is shown');
is($sql->('SELECT count(*) FROM guests'), 0, 'and nothing was written');
$recipe->run($node, 'Pages', 'Only what changed', 'Load');
is($sql->('SELECT count(*) FROM guests'), 230, 'all is loaded');
my $guest = $pms->record('guests', 'GST-000002');
is($sql->("SELECT email, vip, seen_at = '$guest->{lastInteraction}' FROM guests WHERE external_id = 'GST-000002'"),
	"$guest->{email}|" . ($guest->{loyaltyTier} =~ /gold|platinum/ ? 't' : 'f') . '|t', 'with its values');
$recipe->run($node, 'Who wins', 'Write', 'When the PMS says no');
is($pms->record('guests', 'GST-000001')->{phone}, '+43 1 5550100', 'a change went to the PMS');
is($sql->("SELECT sync_status FROM jacksync.record WHERE external_id = 'GST-000001'"), 'synced', 'and is settled');
$pms->faults({ kind => 'status', status => 403, body => { code => 'RATE_LIMIT' }, match => { path => '/v1/' }, count => 1 });
my $run = JackSync::Recipe::cycle($node, 'guests');
$run = JackSync::Recipe::cycle($node, 'guests') if $run->{success} ne 't';
is($run->{success}, 't', 'a limit that is told as 403 is waited out');
done_testing();
