# doc/pms/your-own.md, as it stands: an unknown PMS, step by step.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 50, guests => 5);
my $url = $pms->url;
my $page = slurp_file("$FindBin::RealBin/../../doc/pms/your-own.md");
my @blocks = $page =~ /^```sql\n(.*?)^```/msg;
s{http://127\.0\.0\.1:8080}{$url}g for @blocks;

my $node = PostgreSQL::Test::Cluster->new('preview');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $run = sub {
	my ($status, $out, $err) = $node->psql('postgres', shift @blocks, on_error_stop => 1);
	is($status, 0, 'a block of the page') or diag($err);
	return $out;
};

$run->() for 1 .. 2;
my $out = $run->();
like($out, qr/\(request\)\|\{"url": "\Q$url\E\/v1\/reservations", "method": "GET"\}/, 'what was asked');
like($out, qr/\(answer\)\|.*"status": 200/, 'what came');
like($out, qr/nothing at \$."id" \(primary_key\); the record has the members \[.*"data".*perhaps the records are at \$\.data\[\*\]/, 'where the records may be');
$out = $run->();
like($out, qr/^1\|RES-000001\|2026-[^|]+\|guestName\|"/m, 'a record and its fields');
like($out, qr/^1\|.*\(others\)\|\[.*"checkInDate".*members that no field takes/m, 'members that no field takes');
is($node->safe_psql('postgres', 'SELECT count(*) FROM booking') . $node->safe_psql('postgres', 'SELECT count(*) FROM jacksync.record'),
	'00', 'nothing is written');
$out = $run->();
like($out, qr/^nights\|"202\d-.*\|does not fit column nights: invalid input syntax for type integer/m, 'a value that does not fit');
like($out, qr/^status\|"booked"/m, 'a code that is translated');
$run->();
$out = $run->();
like($out, qr/\(request\)\|.*\?page=1&pageSize=20"/, 'the request with pages, and without since');
like($out, qr/\(next page\)\|\|there are more pages/, 'which there are');
like($run->(), qr/RES-000001\|.*\|booked/, 'the first sync');
is($node->safe_psql('postgres', 'SELECT count(*) FROM booking'), 50, 'is complete');
$run->() for 1 .. 2;
is($pms->record('reservations', 'RES-000001')->{guestName}, 'Ada Lovelace', 'and writing works');
is(scalar(@blocks), 0, 'that was the whole page');

# what goes wrong is said
my ($status, $text, $err) = $node->psql('postgres', "SELECT * FROM jacksync.preview_stream('nothing')");
like($err, qr/entity "nothing"/, 'an unknown entity');
$pms->faults({ kind => 'status', status => 403, body => { message => 'not your hotel' } });
like($node->safe_psql('postgres', "SELECT field, note FROM jacksync.preview_stream('booking')"), qr/\(problem\)\|HTTP 403: .*not your hotel/, 'the words of the PMS');
$pms->faults({ kind => 'html' });
like($node->safe_psql('postgres', "SELECT field, note FROM jacksync.preview_stream('booking')"), qr/\(problem\)\|.*not valid JSON/, 'a page that is none');
$pms->heal;
$node->safe_psql('postgres', q{UPDATE jacksync.stream SET detail = '{"path": "/reservations/{record.id}", "record_path": "$"}'});
like($node->safe_psql('postgres', "SELECT field, value FROM jacksync.preview_stream('booking')"), qr/\(request\)\|.*reservations\/RES-0000\d\d"/, 'details are asked for');

$node->stop;
done_testing();
