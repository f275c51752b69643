# The owner of a bound table as an attacker: triggers, domains, casts, search
# path, deferred constraints.  Nothing of it ever runs with other rights than
# the owner's, in a session or in the worker (SEC-01, SEC-02, SEC-07, SEC-10).
use strict;
use warnings FATAL => 'all';
use FindBin;
use lib "$FindBin::RealBin/../lib";
use JackSync::PMS;
use JackSync::Node;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pms = JackSync::PMS->start(reservations => 0, guests => 0);
$pms->config({ auth => 'none' });
my $node = PostgreSQL::Test::Cluster->new('owner');
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'jacksync'\njacksync.databases = 'postgres'\ntimezone = 'UTC'\n");
$node->start;
my $sql = sub { return $node->safe_psql('postgres', $_[0]); };
my $owner = sub { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'attacker' ]); };
my $wait = sub { return JackSync::Node::wait_for($node, @_); };

$sql->(q{
	CREATE EXTENSION jacksync;
	CREATE ROLE attacker LOGIN;
	CREATE SCHEMA evil AUTHORIZATION attacker;
	GRANT CREATE ON SCHEMA public TO attacker;
});

# whatever of his runs says in the log as whom, and tries to become more
$owner->(q{
	CREATE FUNCTION evil.try(what text) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE
		way text;
	BEGIN
		RAISE LOG 'EVIL % super=% as %', what,
			(SELECT rolsuper FROM pg_catalog.pg_roles
			 WHERE rolname OPERATOR(pg_catalog.=) current_user), current_user;
		FOREACH way IN ARRAY ARRAY['SELECT', 'RESET ROLE', 'SET ROLE postgres', 'SET LOCAL ROLE NONE',
			'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET ALL', 'DISCARD ALL']
		LOOP
			BEGIN
				EXECUTE way;
				EXECUTE 'ALTER ROLE attacker SUPERUSER';
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		RETURN true;
	END $$;
	CREATE DOMAIN evil.words AS text CHECK (evil.try('domain'));
	CREATE TYPE evil.mood AS ENUM ('good', 'bad');
	CREATE FUNCTION evil.as_json(evil.mood) RETURNS json LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('cast'); RETURN '"good"'; END $$;
	CREATE CAST (evil.mood AS json) WITH FUNCTION evil.as_json(evil.mood);
	CREATE TABLE evil.guests (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name evil.words, notes text,
		mood evil.mood, tier text, email text, urgency evil.mood DEFAULT 'bad',
		copy text GENERATED ALWAYS AS (email) STORED,
		sponsor bigint REFERENCES evil.guests DEFERRABLE INITIALLY DEFERRED,
		CHECK (evil.try('constraint')));
	-- operators, functions and casts that would be found first
	CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('operator'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE FUNCTION evil.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('operator'); RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
	CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
	CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.eq);
	CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
	CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('function'); RETURN pg_catalog.now(); END $$;
	CREATE FUNCTION evil.count(integer) RETURNS bigint LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('function'); RETURN 1; END $$;
	CREATE FUNCTION evil.before() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM evil.try('before trigger');
		-- would last to the end of the transaction, and beyond
		PERFORM set_config('search_path', 'evil, pg_catalog', false);
		PERFORM set_config('DateStyle', 'German', false);
		PERFORM set_config('lock_timeout', '1', false);
		RETURN NEW;
	END $$;
	CREATE FUNCTION evil.after() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('deferred trigger'); RETURN NULL; END $$;
	CREATE TRIGGER evil_before BEFORE INSERT OR UPDATE ON evil.guests
		FOR EACH ROW EXECUTE FUNCTION evil.before();
	CREATE CONSTRAINT TRIGGER evil_deferred AFTER INSERT OR UPDATE ON evil.guests
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.after();
	CREATE FUNCTION evil.as_text(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
		$$ BEGIN PERFORM evil.try('index'); RETURN $1; END $$;
	CREATE INDEX ON evil.guests ((evil.as_text(email)));
});

$sql->(sprintf q{
	CREATE SERVER pms FOREIGN DATA WRAPPER jacksync OPTIONS (base_url '%s');
	INSERT INTO jacksync.entity (entity, local_table, urgency_column) VALUES ('guests', 'evil.guests', 'urgency');
	INSERT INTO jacksync.authority (entity, field, strategy) VALUES
		('guests', 'name', 'manual'), ('guests', 'notes', 'merge'), ('guests', 'mood', 'latest_wins'),
		('guests', 'tier', 'pms_wins'), ('guests', 'email', 'local_wins');
	INSERT INTO jacksync.stale_policy (entity, max_stale_age, critical_stale_age, affected_operations)
		VALUES ('guests', '1 h', '1 day', '{anything}');
	INSERT INTO jacksync.operation_guard (entity, operation, columns, condition)
		VALUES ('guests', 'anything', '{sponsor}', $$evil.try('guard')$$);
	INSERT INTO jacksync.stream (entity, server, request, record_path, paginator, push, poll_interval)
		VALUES ('guests', 'pms', '{"path": "/v1/guests", "query": {"page": "{page}", "pageSize": "{limit}"}}', '$.data[*]',
			'{"type": "page_number", "base_page": 1, "page_size": 50, "has_more_path": "$.hasMore"}',
			'{"read": {"path": "/v1/guests/{record.id}"}, "if_match": "etag",
			  "update": {"method": "PATCH", "path": "/v1/guests/{record.id}"}}', '1 h');
}, $pms->url);

# everything that a session can do with it
$sql->(q{
	SELECT jacksync.apply('guests', '[{"id": "G1", "name": "a", "notes": "n", "mood": "good", "tier": "t", "email": "e"},
		{"id": "G2", "name": "b", "mood": "bad"}]', 'pms');
	SELECT jacksync.apply('guests', '[{"id": "G1", "name": "aa", "notes": "nn", "mood": "bad", "tier": "tt", "email": "ee"}]', 'pms');
});
is($sql->("SELECT string_agg(name || ' ' || mood, ',' ORDER BY id) FROM evil.guests"), 'aa bad,b bad',
	'a table with deferred foreign keys and triggers is written');
$owner->("UPDATE evil.guests SET name = 'mine', notes = 'mine', mood = 'good', tier = 'mine', sponsor = id");
my $record = q{{"id": "G1", "name": "theirs", "notes": "theirs", "mood": "bad", "tier": "theirs", "email": "e3"}};
my $session = qq{
	SET search_path = evil, public, pg_catalog;
	SELECT pg_catalog.count(1) FROM jacksync.preview('guests', '[$record]', 'pms');
	SELECT type FROM jacksync.detect_conflict('guests', '$record', 'pms');
	SELECT success FROM jacksync.apply('guests', '[$record]', 'pms');
	SELECT jacksync.resolve_conflict(conflict_id, 'custom', '"decided"') FROM jacksync.manual_conflict
		WHERE status OPERATOR(pg_catalog.=) 'pending' LIMIT 1;
	SELECT value FROM jacksync.explain('guests', 'G1', 'name');
	SELECT jacksync.undo(audit_id) FROM jacksync.audit_log
		WHERE field OPERATOR(pg_catalog.=) 'tier' ORDER BY audit_id DESC LIMIT 1;
	SELECT pg_catalog.count(1) FROM jacksync.preview_rule('guests', 'name', 'pms_wins');
	SELECT pg_catalog.length(jacksync.dashboard_html()) OPERATOR(pg_catalog.>) 0;
	SELECT pg_catalog.count(1) FROM jacksync.diagnose();
	SELECT pg_catalog.count(1) FROM jacksync.status, jacksync.record, jacksync.stuck, jacksync.open_conflict;
};
# not while the worker settles the same conflict
$sql->('SELECT jacksync.pause()');
$wait->('SELECT NOT EXISTS (SELECT FROM jacksync.progress)', 'the worker rests');
my $out = $sql->($session);
$sql->('SELECT jacksync.resume()');
like($out, qr/^conflict\nt\n\n"decided"\n/m, 'sessions work with a search path full of traps');

# and the worker: pull, push, look-up
my @common = (version => 1, updatedAt => '2030-01-01T00:00:00Z');
$pms->put('guests', 'G1', { id => 'G1', name => 'pms', notes => 'pms', mood => 'good', tier => 'pms', email => 'pms', @common });
$pms->put('guests', 'G2', { id => 'G2', name => 'b', mood => 'bad', @common });
$pms->put('guests', 'G3', { id => 'G3', name => 'new', mood => 'bad', @common });
$sql->("SELECT jacksync.sync_now('guests')");
$wait->("SELECT count(*) = 1 FROM evil.guests WHERE external_id = 'G3' AND name = 'new'", 'the worker writes the table');
$owner->("UPDATE evil.guests SET notes = 'pushed' WHERE external_id = 'G3'");
for (1 .. 300)
{
	last if ($pms->record('guests', 'G3')->{notes} // '') eq 'pushed';
	select undef, undef, undef, 0.1;
}
is($pms->record('guests', 'G3')->{notes}, 'pushed', 'and pushes from it');
my $next = $node->psql('postgres', "CALL jacksync.sync('guests')");
is($next, 0, 'as does sync() in a session');

# his deferred trigger, made deferred again by himself, is an error of the record
$owner->(q{
	CREATE FUNCTION evil.defer() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN SET CONSTRAINTS ALL DEFERRED; RETURN NEW; END $$;
	CREATE TRIGGER evil_defer BEFORE UPDATE ON evil.guests FOR EACH ROW EXECUTE FUNCTION evil.defer();
});
$sql->(q{SELECT jacksync.apply('guests', '[{"id": "G2", "tier": "again"}]', 'pms')});
is($sql->("SELECT sqlstate FROM jacksync.sync_error WHERE external_id = 'G2' AND state <> 'resolved'"), '42501',
	'a trigger that defers itself again cannot run later with other rights');

is($sql->("SELECT rolsuper FROM pg_roles WHERE rolname = 'attacker'"), 'f', 'the attacker is no superuser');
my $log = slurp_file($node->logfile);
my %seen = map { $_ => 1 } $log =~ /EVIL (\w+(?: trigger)?) super/g;
ok($seen{$_}, "code of the owner ran: $_")
	for ('domain', 'cast', 'constraint', 'index', 'guard', 'before trigger', 'deferred trigger');
my @wrong = $log =~ /(EVIL .* super=t.*)/g;
is(join("\n", @wrong), '', 'never with the rights of a superuser');
my %as = map { $_ => 1 } $log =~ /EVIL .* as (\w+)/g;
is(join(' ', sort keys %as), 'attacker', 'and always as the owner of the table');
unlike($log, qr/handled with wrong rights/, 'no value is handled with wrong rights');

$node->stop;
done_testing();
