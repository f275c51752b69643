CREATE FUNCTION jacksync.apply_cast(entity text, records text, server name)
RETURNS jacksync.sync_result
AS 'MODULE_PATHNAME', 'jacksync_apply_cast'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.apply_cast(text, text, name) IS
'what the planner calls for apply(entity, records::jsonb), where records are text (internal)';

CREATE FUNCTION jacksync.apply_support(internal)
RETURNS internal
AS 'MODULE_PATHNAME', 'jacksync_apply_support'
LANGUAGE C STRICT;
COMMENT ON FUNCTION jacksync.apply_support(internal) IS
'spares apply() the cast of a text to jsonb (internal)';

CREATE FUNCTION jacksync.apply(entity text, records jsonb, server name DEFAULT NULL)
RETURNS jacksync.sync_result
AS 'MODULE_PATHNAME', 'jacksync_apply'
LANGUAGE C VOLATILE PARALLEL UNSAFE SUPPORT jacksync.apply_support;
COMMENT ON FUNCTION jacksync.apply(text, jsonb, name) IS
'apply a JSON array of records of the PMS, in the transaction of the caller';

CREATE FUNCTION jacksync.apply_page(entity text, page text, server name DEFAULT NULL)
RETURNS jacksync.sync_result
AS 'MODULE_PATHNAME', 'jacksync_apply_page'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.apply_page(text, text, name) IS
'apply() for the text of a page, which is faster: what did not change is recognised by its bytes';

CREATE FUNCTION jacksync.apply_path(entity text)
RETURNS text
AS 'MODULE_PATHNAME', 'jacksync_apply_path'
LANGUAGE C STRICT;
COMMENT ON FUNCTION jacksync.apply_path(text) IS
'direct, or general and why: how rows of the entity are written';

CREATE FUNCTION jacksync.preview(entity text, records jsonb, server name DEFAULT NULL)
RETURNS TABLE (external_id text, field text, base jsonb, local jsonb, pms jsonb,
	strategy jacksync.strategy, resolved jsonb, outcome text)
AS 'MODULE_PATHNAME', 'jacksync_preview'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.preview(text, jsonb, name) IS
'what apply() would do with these records; writes nothing';

CREATE PROCEDURE jacksync.sync(entity text DEFAULT NULL, server name DEFAULT NULL,
	INOUT run_id bigint DEFAULT NULL, INOUT started timestamptz DEFAULT NULL,
	INOUT completed timestamptz DEFAULT NULL, INOUT success boolean DEFAULT NULL,
	INOUT records_processed bigint DEFAULT NULL, INOUT created bigint DEFAULT NULL,
	INOUT updated bigint DEFAULT NULL, INOUT unchanged bigint DEFAULT NULL,
	INOUT pushed bigint DEFAULT NULL, INOUT conflicts bigint DEFAULT NULL,
	INOUT errors bigint DEFAULT NULL, INOUT error text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'jacksync_sync'
LANGUAGE C;
COMMENT ON PROCEDURE jacksync.sync(text, name, bigint, timestamptz, timestamptz, boolean,
	bigint, bigint, bigint, bigint, bigint, bigint, bigint, text) IS
'one cycle now, pull and push, in this session, committing page by page';

CREATE PROCEDURE jacksync.push(entity text DEFAULT NULL, server name DEFAULT NULL)
AS 'MODULE_PATHNAME', 'jacksync_push'
LANGUAGE C;
COMMENT ON PROCEDURE jacksync.push(text, name) IS
'send local changes to the PMS now, in this session';

CREATE FUNCTION jacksync.stream_tier(push jsonb)
RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN push ? 'if_match' AND push ? 'idempotency_header' THEN 'A'
		WHEN push ? 'if_match' THEN 'B'
		WHEN push ? 'idempotency_header' THEN 'C'
		WHEN push ?| '{update,create,delete}' THEN 'D'
	END
$$;
COMMENT ON FUNCTION jacksync.stream_tier(jsonb) IS
'what a stream declares that its PMS promises of writes: A If-Match and idempotency key, B If-Match, C key, D neither; NULL: it is not written to';

CREATE PROCEDURE jacksync.check_stream(entity text, server name DEFAULT NULL, external_id text DEFAULT NULL,
	INOUT measured text DEFAULT NULL, INOUT message text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'jacksync_check_stream'
LANGUAGE C;
COMMENT ON PROCEDURE jacksync.check_stream(text, name, text, text, text) IS
'tries out whether the PMS honours If-Match and the idempotency key, by writing a value back that a record has already; measured is the tier, as in jacksync.status';

CREATE FUNCTION jacksync.detect_conflict(entity text, pms_record jsonb, server name DEFAULT NULL)
RETURNS jacksync.conflict_result
AS 'MODULE_PATHNAME', 'jacksync_detect_conflict'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.detect_conflict(text, jsonb, name) IS
'what changed on either side since the last sync of a record';

CREATE FUNCTION jacksync.changed_fields(current jsonb, snapshot jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'jacksync_changed_fields'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION jacksync.changed_fields(jsonb, jsonb) IS
'the fields of two objects that differ, as {field: {"from": ..., "to": ...}}';

CREATE FUNCTION jacksync.merge(local jsonb, pms jsonb, base jsonb)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'jacksync_merge'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION jacksync.merge(jsonb, jsonb, jsonb) IS
'three-way merge of JSON values; base is NULL where it is not known';

CREATE FUNCTION jacksync.resolve(strategy jacksync.strategy, local jsonb, pms jsonb, base jsonb,
	local_updated_at timestamptz DEFAULT NULL, pms_updated_at timestamptz DEFAULT NULL)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'jacksync_resolve'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION jacksync.resolve(jacksync.strategy, jsonb, jsonb, jsonb, timestamptz, timestamptz) IS
'the value that a strategy gives for three values of one field; manual gives the local one where both differ';

CREATE FUNCTION jacksync.resolve_conflict(conflict_id bigint, resolution text, custom_value jsonb DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'jacksync_resolve_conflict'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.resolve_conflict(bigint, text, jsonb) IS
'decide a held conflict: local, pms or custom; the decision is applied, pushed and audited';

CREATE FUNCTION jacksync.start_worker()
RETURNS integer
AS 'MODULE_PATHNAME', 'jacksync_start_worker'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.start_worker() IS
'start the background worker of this database without a restart of the server; returns its process id';

CREATE FUNCTION jacksync.wake_worker()
RETURNS void
AS 'MODULE_PATHNAME', 'jacksync_wake_worker'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.wake_worker() IS
'wake the background worker when this transaction commits';

CREATE FUNCTION jacksync.progress_slots(OUT pid integer, OUT stream_id integer, OUT run_id bigint,
	OUT phase text, OUT started timestamptz, OUT phase_started timestamptz, OUT pages bigint,
	OUT records bigint, OUT total bigint, OUT pushed bigint)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jacksync_progress_slots'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION jacksync.progress_slots() IS
'the cycles that run now, from shared memory (see the view jacksync.progress) (internal)';

CREATE FUNCTION jacksync.worker_counters(OUT pid integer, OUT started timestamptz,
	OUT last_turn timestamptz, OUT turns bigint, OUT cycles integer)
AS 'MODULE_PATHNAME', 'jacksync_worker_counters'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION jacksync.worker_counters() IS
'what the worker does, from shared memory (see the view jacksync.worker_status) (internal)';

CREATE FUNCTION jacksync.live_last_sync(stream_id integer, stored timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jacksync_live_last_sync'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION jacksync.live_last_sync(integer, timestamptz) IS
'when a stream was last in sync, if its row of stream_state says stored: polls that find nothing write nothing (internal)';

CREATE FUNCTION jacksync.live_next_due(stream_id integer, stored timestamptz)
RETURNS timestamptz
AS 'MODULE_PATHNAME', 'jacksync_live_next_due'
LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION jacksync.live_next_due(integer, timestamptz) IS
'when a stream is due, if its row of stream_state says stored (internal)';

CREATE FUNCTION jacksync.library_version()
RETURNS text
AS 'MODULE_PATHNAME', 'jacksync_library_version'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION jacksync.library_version() IS
'version of the loaded library';

CREATE FUNCTION jacksync.protect_audit()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'the audit log is append-only'
		USING ERRCODE = 'insufficient_privilege',
			HINT = 'Rows older than jacksync.audit_retention are purged by the worker.';
END
$$;
COMMENT ON FUNCTION jacksync.protect_audit() IS
'trigger: nobody changes or deletes what was audited';

CREATE TRIGGER audit_log_append_only
	BEFORE UPDATE OR DELETE OR TRUNCATE ON jacksync.audit_log
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.protect_audit();

CREATE TRIGGER worker_changed
	AFTER INSERT OR DELETE ON jacksync.worker
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();

CREATE FUNCTION jacksync.resolve_conflicts(entity text, field text, resolution text)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id	bigint;
	n	bigint := 0;
BEGIN
	IF resolution NOT IN ('local', 'pms') THEN
		RAISE EXCEPTION 'resolution of many conflicts must be local or pms, not "%"', resolution
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Custom values are given one by one, with jacksync.resolve_conflict().';
	END IF;
	FOR id IN
		SELECT c.conflict_id FROM jacksync.manual_conflict c
		WHERE c.entity = resolve_conflicts.entity AND c.field = resolve_conflicts.field
			AND c.status = 'pending'
		ORDER BY c.conflict_id
	LOOP
		-- one of a group may have been decided with another
		IF EXISTS (SELECT FROM jacksync.manual_conflict c
				WHERE c.conflict_id = id AND c.status = 'pending') THEN
			PERFORM jacksync.resolve_conflict(id, resolution);
			n := n + 1;
		END IF;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.resolve_conflicts(text, text, text) IS
'decide all held conflicts of a field; returns how many';

CREATE FUNCTION jacksync.sync_now(entity text DEFAULT NULL, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	n	bigint;
BEGIN
	UPDATE jacksync.stream_state t
		SET next_due_at = pg_catalog.now(), backoff_from = t.failure_count
		FROM jacksync.stream s
		WHERE s.stream_id = t.stream_id
			AND (sync_now.entity IS NULL OR s.entity = sync_now.entity)
			AND (sync_now.server IS NULL OR s.server = sync_now.server);
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n = 0 THEN
		RAISE EXCEPTION 'there is no stream of entity "%" and server "%"',
			coalesce(entity, '(any)'), coalesce(server, '(any)')
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity, server FROM jacksync.stream lists the streams.';
	END IF;
	PERFORM jacksync.forgive_server(x.server) FROM
		(SELECT DISTINCT s.server FROM jacksync.stream s
			WHERE (sync_now.entity IS NULL OR s.entity = sync_now.entity)
				AND (sync_now.server IS NULL OR s.server = sync_now.server)) x;
	UPDATE jacksync.sync_error e SET next_attempt_at = pg_catalog.now()
		WHERE e.state IN ('retry', 'waiting')
			AND (sync_now.entity IS NULL OR e.entity = sync_now.entity)
			AND (sync_now.server IS NULL OR e.server = sync_now.server);
	UPDATE jacksync.link l SET next_push_at = NULL
		FROM jacksync.stream s
		WHERE s.stream_id = l.stream_id AND l.dirty AND l.next_push_at > pg_catalog.now()
			AND (sync_now.entity IS NULL OR s.entity = sync_now.entity)
			AND (sync_now.server IS NULL OR s.server = sync_now.server);
	PERFORM jacksync.wake_worker();
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.sync_now(text, name) IS
'wake the worker for these streams now, whatever back-off they are in; returns how many';

CREATE FUNCTION jacksync.set_paused(entity text, server name, paused boolean)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n	bigint;
BEGIN
	UPDATE jacksync.stream_state t SET paused = set_paused.paused, quarantine = NULL
		FROM jacksync.stream s
		WHERE s.stream_id = t.stream_id
			AND (set_paused.entity IS NULL OR s.entity = set_paused.entity)
			AND (set_paused.server IS NULL OR s.server = set_paused.server);
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n = 0 THEN
		RAISE EXCEPTION 'there is no stream of entity "%" and server "%"',
			coalesce(entity, '(any)'), coalesce(server, '(any)')
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity, server FROM jacksync.stream lists the streams.';
	END IF;
	INSERT INTO jacksync.audit_log (operation, entity, server, after_state, resolved_by)
		VALUES ('manual_override', entity, server,
			pg_catalog.jsonb_build_object('paused', set_paused.paused), jacksync.acting_role());
	PERFORM jacksync.alert_resolve('quarantine', s.entity, s.server) FROM jacksync.stream s
		WHERE (set_paused.entity IS NULL OR s.entity = set_paused.entity)
			AND (set_paused.server IS NULL OR s.server = set_paused.server);
	PERFORM jacksync.wake_worker();
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.set_paused(text, name, boolean) IS
'what pause() and resume() share (internal)';

CREATE FUNCTION jacksync.pause(entity text DEFAULT NULL, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$ SELECT jacksync.set_paused(entity, server, true) $$;
COMMENT ON FUNCTION jacksync.pause(text, name) IS
'stop polling and pushing; a cycle that runs goes on to its end; local changes are kept meanwhile';

CREATE FUNCTION jacksync.resume(entity text DEFAULT NULL, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$ SELECT jacksync.set_paused(entity, server, false) $$;
COMMENT ON FUNCTION jacksync.resume(text, name) IS
'go on after pause()';

/* called when a pull brought many records as they were before (src/pull.c) */
CREATE FUNCTION jacksync.quarantine(stream integer, regressed bigint, processed bigint)
RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s		record;
	words	text := format('the PMS sent %s of %s records older than they were: was it restored from a backup?', regressed, processed);
BEGIN
	UPDATE jacksync.stream_state t SET paused = true, quarantine = words
		FROM jacksync.stream x WHERE x.stream_id = t.stream_id AND t.stream_id = stream
		RETURNING x.entity, x.server INTO s;
	PERFORM jacksync.alert_raise('quarantine', 'critical', 'PMS Data Went Back',
		format('The PMS sent %s of %s records of %s older than they were. Synchronization waits for a person.', regressed, processed, s.entity),
		s.entity, s.server, jsonb_build_object('records', regressed, 'of', processed, 'believe_the_pms',
			format('SELECT jacksync.resync(%L, NULL, %L);', s.entity, s.server), 'when_it_is_mended',
			format('SELECT jacksync.resume(%L, %L);', s.entity, s.server)));
	RETURN words;
END
$$;
COMMENT ON FUNCTION jacksync.quarantine(integer, bigint, bigint) IS
'stops a stream whose PMS seems to have been restored from a backup (internal)';

CREATE FUNCTION jacksync.resync(entity text, external_id text DEFAULT NULL, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	n	bigint;
BEGIN
	IF entity IS NULL OR NOT EXISTS (SELECT FROM jacksync.stream s WHERE s.entity = resync.entity
			AND (resync.server IS NULL OR s.server = resync.server)) THEN
		RAISE EXCEPTION 'there is no stream of entity "%" and server "%"',
			coalesce(entity, '(any)'), coalesce(server, '(any)')
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT entity, server FROM jacksync.stream lists the streams.';
	END IF;
	IF external_id IS NOT NULL AND EXISTS (SELECT FROM jacksync.stream s WHERE s.entity = resync.entity
			AND (resync.server IS NULL OR s.server = resync.server) AND NOT coalesce(s.push ? 'read', false)) THEN
		RAISE EXCEPTION 'one record of entity "%" cannot be read', entity
			USING ERRCODE = 'feature_not_supported', DETAIL = 'Its stream has no push.read.',
				HINT = 'Leave external_id out to read all of them again.';
	END IF;
	-- what the PMS has counts as new, whatever its time says
	UPDATE jacksync.link l SET hash = NULL, pms_updated_at = NULL,
			must_pull = l.must_pull OR resync.external_id IS NOT NULL,
			dirty = l.dirty OR resync.external_id IS NOT NULL, next_push_at = NULL
		FROM jacksync.stream s
		WHERE s.stream_id = l.stream_id AND s.entity = resync.entity AND l.state = 'l'
			AND (resync.server IS NULL OR s.server = resync.server)
			AND (resync.external_id IS NULL OR l.external_id = resync.external_id);
	GET DIAGNOSTICS n = ROW_COUNT;
	IF external_id IS NOT NULL AND n = 0 THEN
		RAISE EXCEPTION 'entity "%" has no record "%"', entity, external_id
			USING ERRCODE = 'undefined_object', HINT = 'SELECT external_id FROM jacksync.record lists the records.';
	END IF;
	IF external_id IS NULL THEN
		UPDATE jacksync.stream_state t SET full_wanted = true, progress = NULL,
				paused = t.paused AND t.quarantine IS NULL, quarantine = NULL
			FROM jacksync.stream s
			WHERE s.stream_id = t.stream_id AND s.entity = resync.entity
				AND (resync.server IS NULL OR s.server = resync.server);
		PERFORM jacksync.alert_resolve('quarantine', s.entity, s.server) FROM jacksync.stream s
			WHERE s.entity = resync.entity AND (resync.server IS NULL OR s.server = resync.server);
	END IF;
	INSERT INTO jacksync.audit_log (operation, entity, server, external_id, after_state, resolved_by)
		VALUES ('manual_override', entity, server, external_id,
			pg_catalog.jsonb_build_object('resync', n), jacksync.acting_role());
	PERFORM jacksync.sync_now(entity, server);
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.resync(text, text, name) IS
'fetch one record again, or all: the next run reads them and takes what the PMS has for new; returns how many are known';

CREATE FUNCTION jacksync.adopt()
RETURNS void
AS 'MODULE_PATHNAME', 'jacksync_adopt'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.adopt() IS
'this copy of the database is the original from now on, and may talk to the PMS';
