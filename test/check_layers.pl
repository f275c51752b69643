# Checks src/LAYERS: includes run downwards, pure files are pure, no cycles.
use strict;
use warnings FATAL => 'all';

my (%layer, %name, $n);
open my $table, '<', 'src/LAYERS' or die "src/LAYERS: $!";
while (<$table>)
{
	next if /^\s*(#|$)/;
	/^(\w+):\s+(.*)$/ or die "src/LAYERS: cannot read \"$_\"";
	$n++;
	$name{$n} = $1;
	$layer{$_} = $n for split ' ', $2;
}
my $errors = 0;
my $complain = sub { print "@_\n"; $errors++; };
my %seen;
my %uses;
for my $path (sort glob 'src/*.[ch]')
{
	my ($file) = $path =~ m{src/(\w+)\.[ch]$};
	$seen{$file} = 1;
	unless ($layer{$file})
	{
		$complain->("$path: not in src/LAYERS");
		next;
	}
	my $pure = $name{ $layer{$file} } eq 'pure';
	open my $source, '<', $path or die "$path: $!";
	while (<$source>)
	{
		$complain->("$path:$.: pure code includes postgres.h")
		  if $pure && /^#include "postgres/;
		next unless /^#include "(\w+)\.h"$/;
		my $header = $1;
		next unless -e "src/$header.h";
		next if $header eq $file;
		$complain->("$path:$.: $header.h is of a higher layer ($name{$layer{$header}}) than $file ($name{$layer{$file}})")
		  if $layer{$header} > $layer{$file};
		$complain->("$path:$.: pure code includes $header.h, which is not")
		  if $pure && $name{ $layer{$header} } ne 'pure';
		$uses{$file}{$header} = 1 if $path =~ /\.h$/;
	}
}
$complain->("src/LAYERS: $_ does not exist") for grep { !$seen{$_} } sort keys %layer;

# cycles among headers
my %state;
my $visit;
$visit = sub {
	my ($file, @path) = @_;
	return if ($state{$file} // '') eq 'done';
	if (($state{$file} // '') eq 'open')
	{
		$complain->("cycle: " . join(' -> ', @path, $file));
		return;
	}
	$state{$file} = 'open';
	$visit->($_, @path, $file) for sort keys %{ $uses{$file} // {} };
	$state{$file} = 'done';
};
$visit->($_) for sort keys %seen;
print $errors ? "layers: $errors errors\n" : "layers: ok\n";
exit($errors ? 1 : 0);
