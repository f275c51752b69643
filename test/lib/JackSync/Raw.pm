package JackSync::Raw;

=head1 NAME

JackSync::Raw - a server that misbehaves, and streams to it

=head1 SYNOPSIS

  my $raw = JackSync::Raw->start;
  $raw->script({ status => 429, headers => { 'Retry-After' => 1 } }, { body => ... });
  my $seen = $raw->log;         # [connection, method, path, headers, body, time]

=cut

use strict;
use warnings FATAL => 'all';
use FindBin;
use HTTP::Tiny;
use JSON::PP;

our (@running, @handles);

sub start
{
	my ($class, @options) = @_;
	my $pid = open my $output, '-|', '/usr/bin/python3', "$FindBin::RealBin/../pms/raw_server.py", @options
	  or die "could not start the raw server: $!";
	my $port = <$output>;
	die "the raw server did not say its port" unless defined $port;
	chomp $port;
	push @running, $pid;
	push @handles, $output;
	return bless {
		port => $port, http => HTTP::Tiny->new(timeout => 20),
		scheme => @options ? 'https' : 'http', json => JSON::PP->new->utf8 }, $class;
}

sub port { return $_[0]{port}; }
sub url { return "$_[0]{scheme}://127.0.0.1:$_[0]{port}"; }

sub script
{
	my ($self, @steps) = @_;
	my $answer = $self->{http}->post("http://127.0.0.1:$self->{port}/script", { content => $self->{json}->encode(\@steps) });
	die "no script: $answer->{status} $answer->{content}" unless $answer->{success};
	return;
}

sub seen { my ($self) = @_; return $self->{json}->decode($self->{http}->get("http://127.0.0.1:$self->{port}/log")->{content}); }
sub log { return $_[0]->seen->{log}; }

END
{
	my $status = $?;
	kill 'TERM', @running if @running;
	$? = $status;
}

1;
