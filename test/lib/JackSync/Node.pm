package JackSync::Node;

=head1 NAME

JackSync::Node - a cluster with a hotel in it

=head1 SYNOPSIS

  my $node = JackSync::Node::hotel('main', $pms, preload => 1, poll => '200 ms');
  JackSync::Node::wait_for($node, "SELECT ...");

=cut

use strict;
use warnings FATAL => 'all';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

=head2 hotel(name, pms, preload => 0, poll => '1h')

A running cluster whose database "postgres" has jacksync, the tables of
test/hotel.sql and streams to the sample PMS.  With preload, a worker runs.

=cut

sub hotel
{
	my ($name, $pms, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ], %{ $options{init} // {} });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jacksync'\njacksync.databases = 'postgres'\n")
	  if $options{preload};
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_min_messages = info\n");
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION jacksync');
	configure($node, 'postgres', $pms, $options{poll} // '1h');
	return $node;
}

=head2 configure(node, database, pms, poll)

Makes the tables and the configuration of test/hotel.sql.

=cut

sub configure
{
	my ($node, $database, $pms, $poll) = @_;
	my $file = "$FindBin::RealBin/../hotel.sql";

	command_ok(
		[
			'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($database),
			'-v', 'pms=' . $pms->url, '-v', 'token_url=' . $pms->url . '/oauth/token', '-v', "poll=$poll",
			'-f', $file
		],
		'hotel is configured');
}

=head2 wait_for(node, query)

Waits until a query gives t; fails the test, with the state of things, if it
does not within a minute.

=cut

sub wait_for
{
	my ($node, $query, $what) = @_;

	for my $try (1 .. 600)
	{
		my ($status, $out) = $node->psql('postgres', $query);
		if ($status == 0 && $out eq 't')
		{
			pass($what // $query);
			return 1;
		}
		select undef, undef, undef, 0.1;
	}
	fail($what // $query);
	diag($node->psql('postgres', 'SELECT entity, status, message FROM jacksync.status; SELECT entity, sqlstate, error, state FROM jacksync.sync_error')
		? '' : ($node->psql('postgres', 'SELECT entity, status, message FROM jacksync.status'))[1]);
	return 0;
}

=head2 wal_of(node, from, upto)

The WAL records between two places, but for those that the server writes by
itself: of checkpoints, and for standbys.

=cut

sub wal_of
{
	my ($node, $from, $upto) = @_;
	return () if $from eq $upto;
	my ($out) = run_command([ 'pg_waldump', '-p', $node->data_dir . '/pg_wal', '-s', $from, '-e', $upto ]);
	return grep { !/^rmgr: (XLOG|Standby) / } split /\n/, $out;
}

1;
