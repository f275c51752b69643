package JackSync::PMS;

=head1 NAME

JackSync::PMS - the sample PMS in a test

=head1 SYNOPSIS

  my $pms = JackSync::PMS->start(reservations => 10, guests => 5);
  $pms->edit('reservations', 'RES-000001', { roomNumber => '512' });
  $pms->faults({ kind => 'down' });
  $pms->heal;
  my $record = $pms->record('reservations', 'RES-000001');

=cut

use strict;
use warnings FATAL => 'all';
use FindBin;
use HTTP::Tiny;
use JSON::PP;

# Kept here: a handle of a pipe that goes out of scope waits for its process.
our (@running, @handles);

=head2 start(option => value, ...)

Starts the server on a free port; options are those of fake_pms.py, or of
what script names, a dialect of a real PMS in test/pms/dialects.

=cut

sub start
{
	my ($class, %options) = @_;
	my $script = "$FindBin::RealBin/../pms/" . (delete $options{script} // 'fake_pms.py');
	my @command = ('/usr/bin/python3', $script,
		map { my $name = $_; $name =~ tr/_/-/; ("--$name", $options{$_}) } sort keys %options);
	my $pid = open my $output, '-|', @command or die "could not start the sample PMS: $!";
	my $port = <$output>;
	die "the sample PMS did not say its port" unless defined $port;
	chomp $port;
	my $tls_port = defined $options{tls_cert} ? <$output> : undef;
	chomp $tls_port if defined $tls_port;
	my $self = bless {
		pid => $pid, output => $output, port => $port, tls_port => $tls_port,
		http => HTTP::Tiny->new(timeout => 20), json => JSON::PP->new->utf8 }, $class;
	push @running, $pid;
	push @handles, $output;
	return $self;
}

sub port { return $_[0]{port}; }

# Control stays on plain http: HTTP::Tiny would need a module for TLS.
sub plain_url { return "http://127.0.0.1:$_[0]{port}"; }
sub url { my ($self) = @_; return $self->{tls_port} ? "https://localhost:$self->{tls_port}" : $self->plain_url; }

sub control
{
	my ($self, $method, $path, $body) = @_;
	my $answer = $self->{http}->request($method, $self->plain_url . "/_control/$path",
		defined $body ? { content => $self->{json}->encode($body) } : {});
	die "the sample PMS refused $path: $answer->{status} $answer->{content}" unless $answer->{success};
	return $self->{json}->decode($answer->{content} eq 'null' ? '{}' : $answer->{content});
}

=head2 edit(collection, id, { field => value }), put(...), delete(collection, id), vanish(...)

Somebody at the hotel changes a record in the PMS.

=cut

sub edit { my ($self, $coll, $id, $patch) = @_; return $self->control('POST', "edit/$coll/$id", $patch); }
sub put { my ($self, $coll, $id, $record) = @_; return $self->control('POST', "put/$coll/$id", $record); }
sub delete { my ($self, $coll, $id) = @_; return $self->control('POST', "delete/$coll/$id", {}); }
sub vanish { my ($self, $coll, $id) = @_; return $self->control('POST', "vanish/$coll/$id", {}); }
sub record { my ($self, $coll, $id) = @_; return $self->control('GET', "record/$coll/$id"); }

=head2 quiet(collection, id, { field => value }), ids(collection), mails, forget_log, expire

Of dialects: an edit whose time the PMS does not note; the ids of a collection;
what the PMS would have sent to guests; an empty log; all tokens end.

=cut

sub quiet { my ($self, $coll, $id, $patch) = @_; return $self->control('POST', "quiet/$coll/$id", $patch); }
sub ids { my ($self, $coll) = @_; return $self->control('GET', "ids/$coll"); }
sub mails { my ($self) = @_; return $self->control('GET', 'mails'); }
sub forget_log { my ($self) = @_; return $self->control('DELETE', 'log'); }
sub expire { my ($self) = @_; return $self->control('POST', 'expire'); }

=head2 faults({ kind => ..., ... }, ...), heal, config({ ... }), log, history

Switch faults on and off, configure, see what was requested and written.

=cut

sub faults { my ($self, @faults) = @_; return $self->control('POST', 'faults', \@faults); }
sub heal { my ($self) = @_; return $self->control('DELETE', 'faults'); }
sub config { my ($self, $config) = @_; return $self->control('POST', 'config', $config); }
sub log { my ($self) = @_; return $self->control('GET', 'log'); }
sub history { my ($self) = @_; return $self->control('GET', 'history'); }

=head2 requests(method, pattern)

How many requests with that method came to a path that matches.

=cut

sub requests
{
	my ($self, $method, $pattern) = @_;
	return scalar grep { $_->{method} eq $method && $_->{path} =~ $pattern } @{ $self->log };
}

sub stop
{
	my ($self) = @_;
	kill 'TERM', $self->{pid};
	@running = grep { $_ != $self->{pid} } @running;
}

END
{
	my $status = $?;
	kill 'TERM', @running if @running;
	$? = $status;
}

1;
