#!/usr/bin/perl
# The install script keeps the rules that protect an extension from objects
# that somebody else made before or after it (CVE-2022-2625, CVE-2018-1058):
#
#   no OR REPLACE, no IF NOT EXISTS, no CREATE SCHEMA, no @extschema@ in quotes;
#   every object is created with its schema; every function that is not C pins
#   its search path, ending in pg_temp; SECURITY DEFINER always;
#   dynamic SQL is made by format() or quote_*(), not by gluing texts;
#   what the script itself calls, and what functions without a pinned path
#   call, is named with its schema.
#
# The catalog knows the rest: test/sql/privileges.sql.
#   spot.pl [FILE ...]      by default the parts of the install script
#   spot.pl --prove         every rule finds the defect that is under __DATA__
use strict;
use warnings;

my $top = $0 =~ s,[^/]*$,,r . '../..';
exit prove() if "@ARGV" eq '--prove';
my @files = @ARGV ? @ARGV : sort(glob("$top/sql/parts/*.sql"), glob("$top/sql/jacksync--*--*.sql"));
my $findings = 0;

# Each paragraph under __DATA__ is a defect: expected finding, then SQL.
sub prove
{
	my $missed = 0;
	my $n = 0;
	my $file = "/tmp/spot.$$.sql";

	local $/ = '';
	for my $case (<DATA>)
	{
		my ($expected, $sql) = $case =~ /^# (.*?)\n(.*)/s or die "bad case: $case";
		open my $out, '>', $file or die "$file: $!";
		print $out $sql;
		close $out;
		my $said = `$^X $0 $file`;
		unlink $file;
		$n++;
		next if $? != 0 && index($said, $expected) >= 0;
		print "not found: $expected\nin: $sql\nsaid: $said\n";
		$missed++;
	}
	print "$n planted defects are found\n" unless $missed;
	return $missed > 0;
}

sub finding
{
	my ($file, $line, $what) = @_;

	$file =~ s,.*/,,;
	print "$file:$line: $what\n";
	$findings++;
}

for my $file (@files)
{
	open my $in, '<', $file or die "$file: $!";
	local $/;
	my $text = <$in>;
	my @bodies;

	# comments become blanks, bodies are kept aside
	$text =~ s{(/\*.*?\*/)}{$1 =~ s/[^\n]/ /gr}gse;
	$text =~ s{(--[^\n]*)}{' ' x length $1}ge;
	$text =~ s{\$\$(.*?)\$\$}{push @bodies, $1; "\$\$" . $#bodies . "\$\$" . ("\n" x ($1 =~ tr/\n//))}gse;
	# so that texts hide nothing and show nothing, they are blanked for some rules
	my $blank = $text =~ s{('(?:[^']|'')*')}{"'" . ($1 =~ s/[^\n]/ /gr) . "'"}gser;

	my $line = 1;
	for my $statement (split /(?<=;)/, $blank)
	{
		my $first = $line + ($statement =~ /^(\s*)/ ? $1 =~ tr/\n// : 0);
		$line += $statement =~ tr/\n//;
		finding($file, $first, 'CREATE OR REPLACE') if $statement =~ /\bOR\s+REPLACE\b/i;
		finding($file, $first, 'IF NOT EXISTS') if $statement =~ /\bIF\s+NOT\s+EXISTS\b/i;
		finding($file, $first, 'CREATE SCHEMA') if $statement =~ /\bCREATE\s+SCHEMA\b/i;
		finding($file, $first, "$1 without its schema")
		  if $statement =~ /^\s*CREATE\s+(?:UNLOGGED\s+)?(TABLE|VIEW|FUNCTION|PROCEDURE|TYPE|SEQUENCE|AGGREGATE|DOMAIN)\s+(?!jacksync\.)/i;
		finding($file, $first, 'table or type without its schema')
		  if $statement =~ /^\s*(?:ALTER\s+TABLE|CREATE\s+(?:UNIQUE\s+)?INDEX\s+\w+\s+ON|CREATE\s+TRIGGER\s+\w+\s+.*?\sON|INSERT\s+INTO|UPDATE|DELETE\s+FROM)\s+(?!jacksync\.)/is;
		finding($file, $first, 'EXECUTE FUNCTION without its schema') if $statement =~ /EXECUTE\s+(?:FUNCTION|PROCEDURE)\s+(?!jacksync\.)/i;
		finding($file, $first, "call of $1() without its schema")
		  if $statement =~ /^\s*SELECT\s+(?!pg_catalog\.|jacksync\.)(\w+)\s*\(/i;

		next unless $statement =~ /^\s*CREATE\s+(?:FUNCTION|PROCEDURE)\s+(\S+?)\(/i;
		my $function = $1;
		my ($language) = $statement =~ /\bLANGUAGE\s+(\w+)/i;
		my ($path) = $statement =~ /\bSET\s+search_path\s*(?:=|TO)\s*(\w+(?:, *\w+)*)/i;
		my $definer = $statement =~ /\bSECURITY\s+DEFINER\b/i;
		my ($body) = $statement =~ /\$\$(\d+)\$\$/;

		finding($file, $first, "$function has no LANGUAGE"), next unless $language;
		next if lc $language eq 'c' && !$definer;
		finding($file, $first, "$function: search_path is not pinned") unless defined $path;
		finding($file, $first, "$function: search_path is \"$path\"")
		  if defined $path && $path !~ /^pg_catalog, (?:jacksync, )?pg_temp\s*$/;
		next unless defined $body;
		my $code = $bodies[$body] =~ s{(/\*.*?\*/|--[^\n]*)}{$1 =~ s/[^\n]/ /gr}gser;
		my $bare = $code =~ s{('(?:[^']|'')*')}{"''"}gser;
		# texts glued together and executed
		while ($bare =~ /\bEXECUTE\s+([^;]*?\|\|[^;]*);/gis)
		{
			finding($file, $first, "$function: EXECUTE of texts that are glued together")
			  unless $1 =~ /\bquote_(?:ident|literal|nullable)\s*\(/i;
		}
		finding($file, $first, "$function: format() with %s of a text in EXECUTE")
		  if $code =~ /\bEXECUTE\s+format\s*\(\s*'[^']*%s[^']*'\s*,\s*\w*(?:name|text)\b/is;
		# tables are always named with their schema: names of ours must not be hidden
		for my $table (qw(entity authority stream field link intent change token sync_run sync_error audit_log
			manual_conflict alert stream_state worker installation))
		{
			finding($file, $first, "$function: table \"$table\" without its schema")
			  if $bare =~ /\b(?:FROM|JOIN|INTO|UPDATE)\s+\Q$table\E\b(?!\s*[.(,;])(?!\s+(?:FROM|:=))/i
				  && $bare !~ /\b\Q$table\E\s+(?:AS\s*\(|(?:constant\s+)?(?:jacksync|text|jsonb|record|regclass|pg_|name|bigint|integer)\b)/i;
		}
	}

	# @extschema@ inside of quotes could be ended by its value
	my $number = 0;
	for (split /\n/, $text)
	{
		$number++;
		finding($file, $number, '@extschema@ in quotes') if /['"\$][^'"\$]*\@extschema\@/;
	}
	for (@bodies)
	{
		finding($file, 0, '@extschema@ in a body') if /\@extschema\@/;
	}
}

my $control = do { open my $in, '<', "$top/jacksync.control" or die "jacksync.control: $!"; local $/; <$in> };
finding('jacksync.control', 1, 'relocatable') unless $control =~ /^relocatable\s*=\s*false/m;
finding('jacksync.control', 1, 'trusted') if $control =~ /^trusted\s*=\s*true/m;
finding('jacksync.control', 1, 'schema is not fixed') unless $control =~ /^schema\s*=\s*'?jacksync/m;

exit 1 if $findings;
printf "%d files of SQL keep the rules\n", scalar @files;

__DATA__
# CREATE OR REPLACE
CREATE OR REPLACE FUNCTION jacksync.f() RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT $$;

# IF NOT EXISTS
CREATE TABLE IF NOT EXISTS jacksync.t (i integer);

# CREATE SCHEMA
CREATE SCHEMA jacksync;

# TABLE without its schema
CREATE TABLE t (i integer);

# FUNCTION without its schema
CREATE FUNCTION f() RETURNS void AS 'MODULE_PATHNAME', 'f' LANGUAGE C;

# table or type without its schema
INSERT INTO t VALUES (1);

# EXECUTE FUNCTION without its schema
CREATE TRIGGER t AFTER INSERT ON jacksync.t FOR EACH ROW EXECUTE FUNCTION f();

# call of set_config() without its schema
SELECT set_config('a', 'b', true);

# search_path is not pinned
CREATE FUNCTION jacksync.f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;

# search_path is not pinned
CREATE FUNCTION jacksync.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ SELECT 1 $$;

# search_path is "pg_catalog, public"
CREATE FUNCTION jacksync.f() RETURNS void LANGUAGE sql SET search_path = pg_catalog, public AS $$ SELECT 1 $$;

# EXECUTE of texts that are glued together
CREATE FUNCTION jacksync.f(a text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN EXECUTE 'DROP TABLE ' || a; END $$;

# format() with %s of a text
CREATE FUNCTION jacksync.f(a text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$ BEGIN EXECUTE format('DROP TABLE %s', table_name); END $$;

# table "link" without its schema
CREATE FUNCTION jacksync.f() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT count(*) FROM link $$;

# @extschema@ in quotes
CREATE VIEW jacksync.v AS SELECT '@extschema@.x'::text AS a;

# @extschema@ in a body
CREATE FUNCTION jacksync.f() RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT "@extschema@".g() $$;
