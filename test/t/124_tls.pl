# TLS: a private CA by file; whatever is wrong with a certificate is refused,
# said in words, alarmed once, and not tried again and again.
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::Raw;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
sub openssl { system_or_bail('openssl', @_); return; }

# two CAs; certificates that are good, expired, of another host, of another CA, self-signed
for my $ca (qw(ca stranger))
{
	openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', "/CN=$ca", '-keyout', "$dir/$ca.key", '-out', "$dir/$ca.pem");
}
sub certificate
{
	my ($name, $ca, $alt, @dates) = @_;
	append_to_file("$dir/$name.ext", "subjectAltName=$alt\n");
	openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', "/CN=$name", '-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
	if (!@dates)
	{
		openssl('x509', '-req', '-in', "$dir/$name.csr", '-CA', "$dir/$ca.pem", '-CAkey', "$dir/$ca.key", '-CAcreateserial',
			'-days', '10', '-extfile', "$dir/$name.ext", '-out', "$dir/$name.pem");
		return;
	}
	# "openssl ca" is the one that takes dates
	append_to_file("$dir/ca.cnf", "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=$dir\ndatabase=$dir/index.txt\nserial=$dir/serial\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n");
	append_to_file("$dir/index.txt", '');
	append_to_file("$dir/serial", "01\n");
	openssl('ca', '-batch', '-config', "$dir/ca.cnf", '-cert', "$dir/$ca.pem", '-keyfile', "$dir/$ca.key", '-in', "$dir/$name.csr",
		'-extfile', "$dir/$name.ext", '-startdate', $dates[0], '-enddate', $dates[1], '-out', "$dir/$name.pem", '-notext');
	return;
}
certificate('good', 'ca', 'IP:127.0.0.1,DNS:localhost');
certificate('other', 'ca', 'DNS:other.example');
certificate('strange', 'stranger', 'IP:127.0.0.1');
certificate('expired', 'ca', 'IP:127.0.0.1', '20200101000000Z', '20200201000000Z');
openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1',
	'-keyout', "$dir/self.key", '-out', "$dir/self.pem");

my $node = PostgreSQL::Test::Cluster->new('tls');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
$sql->(<<'SQL');
CREATE EXTENSION jacksync;
CREATE TABLE stay (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, room text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stay', 'stay');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://127.0.0.1');
INSERT INTO jacksync.stream (entity, server, request, record_path, cursor_path)
	VALUES ('stay', 's', '{"path": "/ok"}', '$.data[*]', NULL);
SQL
$sql->("ALTER SERVER s OPTIONS (ADD ca_file '$dir/ca.pem', ADD timeout '5s')");

sub sync
{
	my ($url) = @_;
	$sql->("ALTER SERVER s OPTIONS (SET base_url '$url')");
	my ($status, $out, $err) = $node->psql('postgres', 'CALL jacksync.sync()');
	my @row = split /\|/, $out, -1;
	return $row[3] eq 't' ? 'ok' : $row[11];
}

my %server = map { ($_ => JackSync::Raw->start('--cert', "$dir/$_.pem", '--key', "$dir/$_.key")->url) } qw(good other strange expired self);
is(sync($server{good}), 'ok', 'a certificate of the private CA');
for my $case ([ 'other', qr/host|subject|name/i ], [ 'strange', qr/issuer|verif/i ], [ 'expired', qr/expired/ ], [ 'self', qr/self.signed/ ])
{
	my ($name, $why) = @$case;
	my $error = sync($server{$name});
	like($error, qr/certificate verification failed \(host "127\.0\.0\.1"\)/, "$name: refused");
	like($error, $why, "$name: in words");
}
is($sql->("SELECT state || ' ' || (blocked_until > now() + '4 min'::interval) FROM jacksync.server_status"), 'untrusted true', 'not tried again at once');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'certificate'"), 1, 'one alert for all of it');
my $plain = JackSync::Raw->start;
like(sync('https://127.0.0.1:' . $plain->port), qr/TLS with the PMS failed|did not answer in time/, 'plain http where TLS should be');
is(sync($server{good}), 'ok', 'all well again');
is($sql->("SELECT count(*) FROM jacksync.alert WHERE kind = 'certificate' AND resolved_at IS NULL"), 0, 'which is told');
$sql->("ALTER SERVER s OPTIONS (SET ca_file '/nowhere/ca.pem')");
my ($status, $out, $err) = $node->psql('postgres', 'CALL jacksync.sync()');
like($out, qr/TLS with the PMS failed.*\/nowhere\/ca\.pem/, 'a CA file that is not there');

$node->stop;
done_testing();
