/*
 * Freshness: how old the data is, and what may be done with it.
 */
CREATE TABLE jacksync.operation_guard
(
	entity		text COLLATE "C" NOT NULL,
	operation	text NOT NULL CHECK (operation <> ''),
	columns		name[] NOT NULL CHECK (pg_catalog.cardinality(columns) > 0),
	condition	text CHECK (condition <> ''),
	PRIMARY KEY (entity, operation)
);
COMMENT ON TABLE jacksync.operation_guard IS
'which writes of a table are an operation that critically stale data forbids';
COMMENT ON COLUMN jacksync.operation_guard.entity IS 'name of the entity';
COMMENT ON COLUMN jacksync.operation_guard.operation IS 'name of the operation, as in stale_policy';
COMMENT ON COLUMN jacksync.operation_guard.columns IS 'a write that changes one of these columns is the operation';
COMMENT ON COLUMN jacksync.operation_guard.condition IS 'and satisfies this condition over OLD and NEW';
SELECT pg_catalog.pg_extension_config_dump('jacksync.operation_guard', '');

/*
 * The checks of a guard that need the table: when the guard is written, or
 * when its entity is bound after it.  They run with the rights of who does
 * that: planning a condition may already evaluate functions.
 */
CREATE FUNCTION jacksync.check_guard(guard jacksync.operation_guard, rel regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Guard of operation "%s" of entity "%s".', guard.operation, guard.entity);
	col name;
BEGIN
	FOREACH col IN ARRAY guard.columns LOOP
		IF NOT EXISTS (
			SELECT FROM pg_attribute a
			WHERE a.attrelid = rel AND a.attname = col AND a.attnum > 0 AND NOT a.attisdropped)
		THEN
			PERFORM jacksync.config_error('operation_guard', 'columns',
				format('column "%s" of table %s does not exist', col, rel), detail,
				format('Columns of the table are: %s.', jacksync.column_list(rel)));
		END IF;
	END LOOP;
	IF guard.condition IS NULL THEN
		RETURN;
	END IF;
	-- it will be evaluated as the owner of the table: nobody may lend himself that
	IF NOT pg_has_role((SELECT c.relowner FROM pg_class c WHERE c.oid = rel), 'USAGE') THEN
		RAISE EXCEPTION 'must be owner of table %', rel
			USING ERRCODE = 'insufficient_privilege', DETAIL = detail,
				HINT = 'The condition of a guard is evaluated as the owner of the table.';
	END IF;
	BEGIN
		EXECUTE format(E'SELECT (%s\n) IS TRUE FROM (SELECT (NULL::%s).*) AS old, (SELECT (NULL::%s).*) AS new LIMIT 0',
			guard.condition, rel, rel);
	EXCEPTION WHEN syntax_error_or_access_rule_violation OR data_exception OR feature_not_supported THEN
		PERFORM jacksync.config_error('operation_guard', 'condition',
			format('"%s" cannot be evaluated: %s', left(guard.condition, 100), SQLERRM), detail,
			'Write a boolean expression over OLD and NEW, such as OLD.room_number IS NOT NULL.');
	END;
END;
$$;
COMMENT ON FUNCTION jacksync.check_guard(jacksync.operation_guard, regclass) IS
'checks a guard against the table of its entity (internal)';

CREATE FUNCTION jacksync.operation_guard_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Guard of operation "%s" of entity "%s".', NEW.operation, NEW.entity);
	rel regclass;
BEGIN
	IF NEW.columns IS NULL OR cardinality(NEW.columns) = 0 OR array_position(NEW.columns, NULL) IS NOT NULL THEN
		PERFORM jacksync.config_error('operation_guard', 'columns', 'no columns, or NULL among them', detail,
			'Write the columns whose change is the operation, such as {room_number}.');
	END IF;
	IF btrim(NEW.condition) = '' OR NEW.condition ~ ';' THEN
		PERFORM jacksync.config_error('operation_guard', 'condition',
			format('"%s" is no expression', left(NEW.condition, 100)), detail,
			'Write one boolean expression over OLD and NEW without semicolon, or NULL.');
	END IF;
	SELECT e.local_table INTO rel FROM jacksync.entity e WHERE e.entity = NEW.entity;
	IF FOUND AND NOT jacksync.is_restore() THEN
		PERFORM jacksync.check_guard(NEW, rel);
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.operation_guard_check() IS 'checks a guard (trigger)';
CREATE TRIGGER operation_guard_check
	BEFORE INSERT OR UPDATE ON jacksync.operation_guard
	FOR EACH ROW EXECUTE FUNCTION jacksync.operation_guard_check();
COMMENT ON TRIGGER operation_guard_check ON jacksync.operation_guard IS 'checks a guard';

/*
 * The unit is the one that people would use: 75 minutes, not 1 hour; and a
 * value that rounds up to 60 seconds is 1 minute.
 */
CREATE FUNCTION jacksync.age_text(age interval)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n || ' ' || unit || CASE WHEN n = 1 THEN '' ELSE 's' END
	FROM (SELECT CASE
			WHEN s < 60 THEN s
			WHEN round(s / 60) < 120 THEN round(s / 60)
			WHEN round(s / 3600) < 48 THEN round(s / 3600)
			ELSE round(s / 86400) END AS n,
		CASE
			WHEN s < 60 THEN 'second'
			WHEN round(s / 60) < 120 THEN 'minute'
			WHEN round(s / 3600) < 48 THEN 'hour'
			ELSE 'day' END AS unit
		FROM (SELECT greatest(round(extract(epoch FROM age)), 0) AS s) AS seconds) AS parts
$$;
COMMENT ON FUNCTION jacksync.age_text(interval) IS
'an age in words: 45 seconds, 75 minutes, 3 hours, 2 days (internal)';

/*
 * SECURITY DEFINER, so that a reader needs no right on the tables of state.
 * Disabled streams count only if there are no others: what a person switched
 * off does not make the rest stale.
 */
CREATE FUNCTION jacksync.judge_freshness(entity text, operation text DEFAULT NULL, server name DEFAULT NULL,
	OUT last_sync_at timestamptz, OUT stale_age interval, OUT status text,
	OUT can_perform_operation boolean, OUT warning text)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	max_age			interval;
	critical_age	interval;
	affected		text[];
	streams			bigint;
	never			boolean;
	clock			timestamptz := clock_timestamp();
BEGIN
	SELECT count(*), min(jacksync.live_last_sync(t.stream_id, t.last_sync_at)), bool_or(t.last_sync_at IS NULL)
		INTO streams, judge_freshness.last_sync_at, never
		FROM jacksync.stream s LEFT JOIN jacksync.stream_state t USING (stream_id)
		WHERE s.entity = judge_freshness.entity
			AND (judge_freshness.server IS NULL OR s.server = judge_freshness.server)
			AND (s.enabled OR NOT EXISTS (
				SELECT FROM jacksync.stream o
				WHERE o.entity = judge_freshness.entity AND o.enabled
					AND (judge_freshness.server IS NULL OR o.server = judge_freshness.server)));

	SELECT p.max_stale_age, p.critical_stale_age, p.affected_operations
		INTO max_age, critical_age, affected
		FROM jacksync.stale_policy p WHERE p.entity = judge_freshness.entity;
	IF NOT FOUND THEN
		IF streams = 0 AND NOT EXISTS (SELECT FROM jacksync.entity e WHERE e.entity = judge_freshness.entity) THEN
			RAISE EXCEPTION 'entity "%" does not exist', entity
				USING ERRCODE = 'undefined_object',
					HINT = 'SELECT entity FROM jacksync.entity lists the entities.';
		END IF;
		SELECT a.warning * interval '1 s', a.critical * interval '1 s'
			INTO max_age, critical_age
			FROM jacksync.alert_threshold a WHERE a.metric = 'stale_data';
		max_age := coalesce(max_age, '300 s');
		critical_age := coalesce(critical_age, '3600 s');
		affected := '{}';
	END IF;
	IF streams = 0 AND judge_freshness.server IS NOT NULL THEN
		RAISE EXCEPTION 'entity "%" has no stream from server "%"', entity, server
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity, server FROM jacksync.stream lists the streams.';
	END IF;

	IF never IS DISTINCT FROM false THEN
		last_sync_at := NULL;
		status := 'critical';
		warning := 'Data has never been synchronized. PMS sync required.';
	ELSE
		stale_age := greatest(clock - last_sync_at, interval '0');
		IF last_sync_at > clock + max_age THEN
			-- the clock was set back: the age is not known, so the gate closes
			stale_age := NULL;
			status := 'critical';
			warning := 'Age of the data is unknown: the last sync lies in the future. PMS sync required.';
		ELSIF stale_age > critical_age THEN
			status := 'critical';
			warning := format('Data is %s old. PMS sync required.', jacksync.age_text(stale_age));
		ELSIF stale_age > max_age THEN
			status := 'stale';
			warning := format('Data may be outdated. Last sync: %s ago', jacksync.age_text(stale_age));
		ELSE
			status := 'fresh';
		END IF;
	END IF;
	can_perform_operation := status <> 'critical' OR operation IS NULL OR NOT operation = ANY (affected);
END
$$;
COMMENT ON FUNCTION jacksync.judge_freshness(text, text, name) IS
'what check_freshness() says of data that is not plainly fresh (internal)';

CREATE FUNCTION jacksync.check_freshness(entity text, operation text DEFAULT NULL, server name DEFAULT NULL,
	OUT last_sync_at timestamptz, OUT stale_age interval, OUT status text,
	OUT can_perform_operation boolean, OUT warning text)
AS 'MODULE_PATHNAME', 'jacksync_check_freshness'
LANGUAGE C
VOLATILE;
COMMENT ON FUNCTION jacksync.check_freshness(text, text, name) IS
'how old the data of an entity is, and whether an operation may use it';

/*
 * The person who acts, also below functions and triggers that run as their
 * owner: SET ROLE shows through them, and it is checked when it is set.
 */
CREATE FUNCTION jacksync.acting_role()
RETURNS name
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN current_setting('role') = 'none' THEN session_user
		ELSE current_setting('role')::name END
$$;
COMMENT ON FUNCTION jacksync.acting_role() IS
'the role that the session acts as: for audit and overrides (internal)';

CREATE FUNCTION jacksync.may_override()
RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT true $$;
COMMENT ON FUNCTION jacksync.may_override() IS
'who may execute this may override a refusal with a reason';

/*
 * Nobody can write an override that is not one: the role and the reason are
 * found out here.  false: no reason was given, or the role may not.
 */
CREATE FUNCTION jacksync.audit_override(entity text, operation text, server name, warning text)
RETURNS boolean
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	reason	text := nullif(btrim(current_setting('jacksync.override', true)), '');
	role	name := jacksync.acting_role();
BEGIN
	IF reason IS NULL OR NOT has_function_privilege(role, 'jacksync.may_override()', 'EXECUTE') THEN
		RETURN false;
	END IF;
	INSERT INTO jacksync.audit_log (operation, entity, server, after_state, resolved_by)
		VALUES ('manual_override', audit_override.entity, audit_override.server,
			jsonb_build_object('operation', audit_override.operation, 'reason', left(reason, 1000),
				'warning', left(audit_override.warning, 500)), role);
	RETURN true;
END
$$;
COMMENT ON FUNCTION jacksync.audit_override(text, text, name, text) IS
'whether the session overrides a refusal; if it does, that is audited (internal)';

CREATE FUNCTION jacksync.require_fresh(entity text, operation text DEFAULT NULL, server name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	freshness	record;
BEGIN
	SELECT * INTO freshness FROM jacksync.check_freshness(entity, operation, server);
	-- who asks without naming an operation wants data that is not critical
	IF freshness.can_perform_operation AND (operation IS NOT NULL OR freshness.status <> 'critical') THEN
		RETURN;
	END IF;
	IF jacksync.audit_override(entity, operation, server, freshness.warning) THEN
		RETURN;
	END IF;
	RAISE EXCEPTION '%', freshness.warning
		USING ERRCODE = 'JS001',
			DETAIL = CASE WHEN operation IS NULL THEN format('Current data of "%s" is needed.', entity)
				ELSE format('Operation "%s" needs current data of "%s".', operation, entity) END,
			HINT = format('CALL jacksync.sync(%L) brings the data up to date. An operator may SET LOCAL jacksync.override = ''reason''.', entity);
END
$$;
COMMENT ON FUNCTION jacksync.require_fresh(text, text, name) IS
'raises JS001 if an operation must not use the data of an entity as it is';

CREATE FUNCTION jacksync.freshness_headers(entity text)
RETURNS jsonb
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_array(jsonb_build_object('X-Data-Freshness', f.status))
		|| CASE WHEN f.last_sync_at IS NULL THEN '[]'
			ELSE jsonb_build_array(jsonb_build_object('X-Last-Sync',
				to_char(f.last_sync_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))) END
	FROM jacksync.check_freshness(entity) f
$$;
COMMENT ON FUNCTION jacksync.freshness_headers(text) IS
'HTTP headers that tell how fresh the data is, as PostgREST takes them';

CREATE FUNCTION jacksync.set_freshness_headers(entity text)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT set_config('response.headers',
		(coalesce(nullif(current_setting('response.headers', true), ''), '[]')::jsonb
			|| jacksync.freshness_headers(entity))::text, true)
$$;
COMMENT ON FUNCTION jacksync.set_freshness_headers(text) IS
'adds the headers of freshness_headers() to the answer of PostgREST, for this transaction';

/* db-pre-request of PostgREST takes a function without arguments */
CREATE FUNCTION jacksync.pre_request()
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	resource	text := split_part(ltrim(current_setting('request.path', true), '/'), '/', 1);
	name		text;
BEGIN
	SELECT e.entity INTO name
		FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table
		WHERE resource IN (c.relname, e.entity) ORDER BY c.relname = resource DESC LIMIT 1;
	IF FOUND THEN
		PERFORM jacksync.set_freshness_headers(name);
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.pre_request() IS
'for db-pre-request of PostgREST: the headers of freshness_headers() for requests of a bound table (by request.path)';
