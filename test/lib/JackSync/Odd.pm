package JackSync::Odd;

=head1 NAME

JackSync::Odd - an odd PMS, and tables that are synchronised with it

=head1 SYNOPSIS

  my $odd = JackSync::Odd->start('name');
  $odd->stream('items', { paging => 'cursor' }, { paginator => {...} });
  my $run = $odd->sync('items');

Every entity has a table of its own with the columns external_id, name,
property and room.  The PMS is test/pms/odd_pms.py.

=cut

use strict;
use warnings FATAL => 'all';
use JSON::PP;
use JackSync::PMS;
use PostgreSQL::Test::Cluster;
use Test::More;

my $json = JSON::PP->new->utf8->canonical->allow_nonref;

sub start
{
	my ($class, $name, %options) = @_;
	my $pms = JackSync::PMS->start(script => 'odd_pms.py');
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\n" . ($options{conf} // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION jacksync; '
		. "CREATE SERVER odd FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '" . $pms->url . "', timeout '10s', rate_limit '10000/1s'); "
		. 'CREATE USER MAPPING FOR CURRENT_USER SERVER odd');
	return bless { pms => $pms, node => $node }, $class;
}

sub pms { return $_[0]{pms}; }
sub node { return $_[0]{node}; }
sub sql { my ($self, $sql) = @_; return $self->{node}->safe_psql('postgres', $sql); }
sub rows { my ($self, $entity) = @_; return $self->sql("SELECT count(*) FROM $entity"); }

# how a list of the PMS behaves, what its next answers are, many records, events
sub api { my ($self, $coll, $api) = @_; return $self->{pms}->control('POST', "api/$coll", $api); }
sub script { my ($self, $coll, @answers) = @_; return $self->{pms}->control('POST', "script/$coll", \@answers); }
sub fill { my ($self, $coll, %how) = @_; return $self->{pms}->control('POST', "fill/$coll", \%how); }
sub events { my ($self, $queue, @events) = @_; return $self->{pms}->control('POST', "events/$queue", \@events); }
sub forget { my ($self) = @_; return $self->{pms}->control('DELETE', 'log'); }

# the queries that came for a list
sub queries
{
	my ($self, $path) = @_;
	return map { $_->{query} } grep { $_->{path} =~ m{^/odd/$path$} } @{ $self->{pms}->log };
}

# the table, the entity and the stream; columns as Perl data
sub stream
{
	my ($self, $entity, $api, $columns, $coll) = @_;
	$coll //= $entity;
	my %columns = (
		request => { path => "/odd/$coll", query => { since => '{since}', page => '{page}', size => '{limit}' } },
		record_path => '$.data[*]', paginator => { type => 'page_number', page_size => 50 }, poll_interval => '1h', %{ $columns // {} });
	my @names = sort keys %columns;
	my @values = map {
		my $value = $columns{$_};
		defined $value ? do { my $text = ref $value ? $json->encode($value) : $value; $text =~ s/'/''/g; "'$text'" } : 'NULL'
	} @names;

	$self->api($coll, $api) if $api;
	$self->sql("CREATE TABLE $entity (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, property text, room text, updated_at text);
		INSERT INTO jacksync.entity (entity, local_table) VALUES ('$entity', '$entity');
		INSERT INTO jacksync.stream (entity, server, " . join(', ', @names) . ") VALUES ('$entity', 'odd', " . join(', ', @values) . ')');
	return;
}

sub sync
{
	my ($self, $entity) = @_;
	my ($status, $out, $err) = $self->{node}->psql('postgres', "CALL jacksync.sync('$entity')");
	my %run;
	@run{qw(run_id started completed success processed created updated unchanged pushed conflicts errors error)} = split /\|/, $out, -1;
	$run{stderr} = $err;
	return \%run;
}

sub watermark { my ($self, $entity) = @_; return $self->sql("SELECT watermark FROM jacksync.stream JOIN jacksync.stream_state USING (stream_id) WHERE entity = '$entity'"); }

1;
