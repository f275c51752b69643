# A read before a write whose answer is older than what was told meanwhile.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JSON::PP;
use JackSync::PMS;
use JackSync::Node;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 12, guests => 12);
my $node = JackSync::Node::hotel('overtaken', $pms);
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(q{CALL jacksync.sync('guests')});
my $push = JSON::PP->new->encode({ read => { path => '/v1/guests/{record.id}' }, if_match => 'etag', idempotency_header => 'Idempotency-Key',
	update => { path => '/v1/guests/{record.id}' } });
$sql->("UPDATE jacksync.stream SET push = '$push' WHERE entity = 'guests'");

# a webhook tells the name; the answer to our read was made before it
my $older = $pms->record('guests', 'GST-000002');
$pms->edit('guests', 'GST-000002', { name => 'told by a webhook' });
my $told = JSON::PP->new->encode([ $pms->record('guests', 'GST-000002') ]);
$told =~ s/'/''/g;
$sql->("SELECT jacksync.apply('guests', '$told', 'sample_pms')");
$sql->("UPDATE guests SET tags = tags || '{overtaken}' WHERE external_id = 'GST-000002'");
$pms->faults({ kind => 'status', status => 200, body => $older, headers => { ETag => '"1"' },
	match => { method => 'GET', path => '^/v1/guests/GST-000002$' }, count => 1 });
$sql->(q{CALL jacksync.sync('guests')});
my @asked = grep { $_->{path} eq '/v1/guests/GST-000002' } @{ $pms->log };
is(join(' ', map { $_->{method} } @asked), 'GET GET PATCH', 'it is read again before anything is written');
ok($asked[-1]{headers}{'If-Match'}, 'so that no version is written over that nobody has seen');
is($sql->("SELECT name || ' ' || sync_status FROM guests JOIN jacksync.record USING (external_id) WHERE external_id = 'GST-000002'"),
	'told by a webhook synced', 'and both have what the other wrote');

$node->stop;
done_testing();
