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

CREATE FUNCTION jacksync.age_text(age interval)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n || ' ' || unit || CASE WHEN n = 1 THEN '' ELSE 's' END
	FROM (SELECT CASE
			WHEN s < 60 THEN round(s)
			WHEN s < 7200 THEN round(s / 60)
			WHEN s < 172800 THEN round(s / 3600)
			ELSE round(s / 86400) END AS n,
		CASE WHEN s < 60 THEN 'second'
			WHEN s < 7200 THEN 'minute'
			WHEN s < 172800 THEN 'hour'
			ELSE 'day' END AS unit
		FROM (SELECT greatest(extract(epoch FROM age), 0) AS s) AS seconds) AS parts
$$;
COMMENT ON FUNCTION jacksync.age_text(interval) IS
'an age in words: 45 seconds, 75 minutes, 3 hours, 2 days';

CREATE FUNCTION jacksync.check_freshness(entity text, operation text DEFAULT NULL, server name DEFAULT NULL,
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
	streams			integer;
	never			boolean;
BEGIN
	SELECT count(*), min(t.last_sync_at), bool_or(t.last_sync_at IS NULL)
		INTO streams, check_freshness.last_sync_at, never
		FROM jacksync.stream s JOIN jacksync.stream_state t USING (stream_id)
		WHERE s.entity = check_freshness.entity AND s.enabled
			AND (check_freshness.server IS NULL OR s.server = check_freshness.server);
	IF streams = 0 AND check_freshness.server IS NOT NULL THEN
		RAISE EXCEPTION 'entity "%" has no stream from server "%"', entity, server
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity, server FROM jacksync.stream lists the streams.';
	END IF;
	IF streams = 0 AND NOT EXISTS (SELECT FROM jacksync.entity e WHERE e.entity = check_freshness.entity)
		AND NOT EXISTS (SELECT FROM jacksync.stale_policy p WHERE p.entity = check_freshness.entity) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity FROM jacksync.entity lists the entities.';
	END IF;

	SELECT p.max_stale_age, p.critical_stale_age, p.affected_operations
		INTO max_age, critical_age, affected
		FROM jacksync.stale_policy p WHERE p.entity = check_freshness.entity;
	IF NOT FOUND THEN
		SELECT a.warning * interval '1 s', a.critical * interval '1 s', '{}'::text[]
			INTO max_age, critical_age, affected
			FROM jacksync.alert_threshold a WHERE a.metric = 'stale_data';
		max_age := coalesce(max_age, '300 s');
		critical_age := coalesce(critical_age, '3600 s');
		affected := '{}';
	END IF;

	IF never IS DISTINCT FROM false THEN
		last_sync_at := NULL;
		status := 'critical';
		warning := 'Data has never been synchronized. PMS sync required.';
	ELSE
		stale_age := greatest(clock_timestamp() - last_sync_at, '0');
		IF stale_age > critical_age THEN
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
COMMENT ON FUNCTION jacksync.check_freshness(text, text, name) IS
'how old the data of an entity is, and whether an operation may use it';

CREATE FUNCTION jacksync.may_override()
RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$ SELECT true $$;
COMMENT ON FUNCTION jacksync.may_override() IS
'who may execute this may override a refusal with a reason';

CREATE FUNCTION jacksync.audit_override(entity text, operation text, reason text, role name)
RETURNS void
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
	INSERT INTO jacksync.audit_log (operation, entity, field, after_state, resolved_by)
		VALUES ('manual_override', $1, NULL,
			jsonb_build_object('operation', $2, 'reason', $3), $4)
$$;
COMMENT ON FUNCTION jacksync.audit_override(text, text, text, name) IS
'writes an override into the audit log (internal)';

CREATE FUNCTION jacksync.require_fresh(entity text, operation text DEFAULT NULL, server name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	freshness	record;
	reason		text := nullif(current_setting('jacksync.override', true), '');
BEGIN
	SELECT * INTO freshness FROM jacksync.check_freshness(entity, operation, server);
	IF freshness.can_perform_operation AND (operation IS NOT NULL OR freshness.status <> 'critical') THEN
		RETURN;
	END IF;
	IF reason IS NOT NULL AND has_function_privilege('jacksync.may_override()', 'EXECUTE') THEN
		PERFORM jacksync.audit_override(entity, operation, reason, current_user);
		RETURN;
	END IF;
	RAISE EXCEPTION '%', freshness.warning
		USING ERRCODE = 'JS001',
			DETAIL = format('Operation "%s" needs current data of "%s".', coalesce(operation, 'any'), entity),
			HINT = 'CALL jacksync.sync() brings the data up to date. An operator may SET LOCAL jacksync.override = ''reason''.';
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
'adds the headers of freshness_headers() to the answer of PostgREST';
