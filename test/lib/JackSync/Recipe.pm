package JackSync::Recipe;

=head1 NAME

JackSync::Recipe - a page of doc/pms, run as a person would run it

=head1 SYNOPSIS

  my $recipe = JackSync::Recipe->new('apaleo', 'https://api.apaleo.com' => $pms->url);
  $recipe->secret('apaleo_client_secret', 'hotel-secret');
  my $node = $recipe->node(preload => 0);
  $recipe->run($node, 'Connect', 'Tables', 'Streams');

The SQL in the pages is what runs: the blocks that are marked sql, under their
headings.  Only addresses, and the directory of the secrets, are replaced.

=cut

use strict;
use warnings FATAL => 'all';
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $secrets = '/etc/jacksync';

=head2 new(page, text => replacement, ...)

Reads doc/pms/PAGE.md.  A text that is to be replaced and is not there is an
error: the page would talk to the real PMS.

=cut

sub new
{
	my ($class, $page, %replace) = @_;
	my $file = "$FindBin::RealBin/../../doc/pms/$page.md";
	my $self = bless { page => $page, replace => \%replace, dir => PostgreSQL::Test::Utils::tempdir(), order => [] }, $class;
	my $text = slurp_file($file);
	my ($heading, $block) = ('', undef);

	foreach my $from (keys %replace)
	{
		die "$file does not have \"$from\"" if index($text, $from) < 0;
	}
	foreach my $line (split /\n/, $text)
	{
		if (defined $block && $line =~ /^```$/)
		{
			push @{ $self->{order} }, $heading unless $self->{sql}{$heading};
			$self->{sql}{$heading} .= $block;
			$block = undef;
		}
		elsif (defined $block) { $block .= "$line\n"; }
		elsif ($line =~ /^```sql$/) { $block = ''; }
		elsif ($line =~ /^#+ (.*)$/) { $heading = $1; }
	}
	return $self;
}

=head2 secret(name, value)

A file in the directory of the secrets.

=cut

sub secret
{
	my ($self, $name, $value) = @_;
	append_to_file("$self->{dir}/$name", $value);
	chmod 0600, "$self->{dir}/$name";
}

sub dir { return $_[0]{dir}; }

=head2 database(name)

The database in which it runs, if it is not "postgres".

=cut

sub database { my ($self, $name) = @_; $self->{database} = $name if defined $name; return $self->{database} // 'postgres'; }

=head2 sql(heading)

The SQL under a heading, for this test's addresses.

=cut

sub sql
{
	my ($self, $heading) = @_;
	my $sql = $self->{sql}{$heading};

	die "$self->{page}.md has no SQL under \"$heading\"" unless defined $sql;
	foreach my $from (sort { length $b <=> length $a } keys %{ $self->{replace} })
	{
		$sql =~ s/\Q$from\E/$self->{replace}{$from}/g;
	}
	$sql =~ s/\Q$secrets\E/$self->{dir}/g;
	die "$self->{page}.md would talk to $1" if $sql =~ m{(https?://(?!127\.0\.0\.1|localhost)[^/']+)};
	return $sql;
}

=head2 node(conf)

A cluster with an empty database.

=cut

sub node
{
	my ($self, $conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($self->{page});

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_min_messages = info\n" . ($conf // ''));
	$node->start;
	return $node;
}

=head2 run(node, heading, ...)

Runs what stands under headings; all of the page without any.

=cut

sub run
{
	my ($self, $node, @headings) = @_;

	foreach my $heading (@headings ? @headings : @{ $self->{order} })
	{
		my ($status, $out, $err) = $node->psql($self->database, $self->sql($heading));

		is($status, 0, "$self->{page}: $heading") or diag($err);
	}
}

=head2 cycle(node, entity)

CALL jacksync.sync(entity), as a hash of its result, with what it said in
stderr.

=cut

sub cycle
{
	my ($node, $entity) = @_;
	my @names = qw(run_id started completed success processed created updated unchanged pushed conflicts errors error);
	my ($status, $out, $err) = $node->psql('postgres', "CALL jacksync.sync('$entity')");
	my @values = split /\|/, $out, -1;
	my %run = (stderr => $err, map { ($names[$_] => $values[$_] // '') } 0 .. $#names);

	diag("sync of $entity: $run{error} $err") if ($run{success} // '') ne 't' && !$ENV{JACKSYNC_QUIET};
	diag($node->safe_psql('postgres', "SELECT external_id, state, sqlstate, error FROM jacksync.sync_error WHERE run_id = $run{run_id}"))
	  if ($run{errors} || 0) > 0 && !$ENV{JACKSYNC_QUIET};
	return \%run;
}

1;
