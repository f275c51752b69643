/*
 * What is wrong, and what to do about it: jacksync.diagnose().  One function
 * per kind of check; each gives rows only for what is not in order.
 */
CREATE TYPE jacksync.finding AS
(
	check_name	text,
	status		text,
	subject		text,
	message		text,
	hint		text
);
COMMENT ON TYPE jacksync.finding IS 'one line of diagnose()';

CREATE FUNCTION jacksync.diagnose_worker()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	WITH w AS (
		SELECT max(s.heartbeat) FILTER (WHERE s.state <> 'dead') AS alive, max(s.heartbeat) AS last,
			max(s.library_version) AS version
		FROM jacksync.worker_status s)
	SELECT 'worker', 'error', current_database()::text,
		CASE WHEN w.last IS NULL THEN 'The worker has never run in this database.'
			ELSE format('The worker does not run; it was last seen %s ago.', jacksync.age_text(clock_timestamp() - w.last)) END,
		CASE WHEN current_setting('shared_preload_libraries') !~ '(^|[ ,"])jacksync($|[ ,"])'
			THEN 'SELECT jacksync.start_worker(); to have it always, put jacksync into shared_preload_libraries and restart.'
			WHEN NOT current_database()::text = ANY (regexp_split_to_array(coalesce(current_setting('jacksync.databases', true), ''), '[ ,"]+'))
			THEN format('ALTER SYSTEM SET jacksync.databases = %L; SELECT pg_reload_conf();',
				concat_ws(', ', nullif(current_setting('jacksync.databases', true), ''), current_database()))
			ELSE 'Look into the server log: it says why the worker ended. SELECT jacksync.start_worker() starts it.' END
	FROM w WHERE w.alive IS NULL AND NOT pg_is_in_recovery()
	UNION ALL
	SELECT 'worker', 'error', current_database()::text,
		format('The worker has given no sign of life for %s.', jacksync.age_text(clock_timestamp() - w.alive)),
		'SELECT * FROM jacksync.worker_status shows what it does; a trigger of yours may hang in it.'
	FROM w WHERE clock_timestamp() - w.alive > interval '2 min' AND NOT pg_is_in_recovery()
	UNION ALL
	SELECT 'databases', 'warning', 'jacksync.databases', format('Database "%s" does not exist.', d.name), 'Create it, or take it off the list.'
	FROM regexp_split_to_table(nullif(current_setting('jacksync.databases', true), ''), '[ ,"]+') AS d (name)
	WHERE d.name <> '' AND NOT EXISTS (SELECT FROM pg_database x WHERE x.datname = d.name OR x.datname = lower(d.name))
	UNION ALL
	SELECT 'version', 'error', 'extension', format('The extension has version %s, the library %s.', e.extversion, jacksync.library_version()),
		'ALTER EXTENSION jacksync UPDATE, or restart the server to load the new library.'
	FROM pg_extension e WHERE e.extname = 'jacksync' AND e.extversion <> jacksync.library_version()
	UNION ALL
	SELECT 'version', 'warning', 'worker', format('The worker runs version %s of the library, this session %s.', w.version, jacksync.library_version()),
		'Restart the server.'
	FROM w WHERE w.alive IS NOT NULL AND w.version <> jacksync.library_version()
$$;
COMMENT ON FUNCTION jacksync.diagnose_worker() IS 'diagnose(): the worker (internal)';

CREATE FUNCTION jacksync.diagnose_tables()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'table', 'error', e.entity, format('The table with OID %s does not exist any more.', e.local_table::oid),
		format('UPDATE jacksync.entity SET local_table = ... WHERE entity = %L, or DELETE it.', e.entity)
	FROM jacksync.entity e WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = e.local_table)
	UNION ALL
	SELECT 'table', 'error', e.entity, format('Table %s has no primary key.', e.local_table),
		format('ALTER TABLE %s ADD PRIMARY KEY (...);', e.local_table)
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table
	WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
	UNION ALL
	SELECT 'trigger', CASE WHEN g.enabled IS NULL OR g.enabled = 'D' OR NOT g.ours THEN 'error' ELSE 'warning' END, e.entity,
		CASE WHEN g.enabled IS NULL THEN format('Trigger %s of table %s is missing: local changes are not seen.', t.name, e.local_table)
			WHEN NOT g.ours THEN format('Trigger %s of table %s does not call jacksync: local changes are not seen.', t.name, e.local_table)
			WHEN g.enabled = 'D' THEN format('Trigger %s of table %s is disabled: local changes are not seen.', t.name, e.local_table)
			ELSE format('Trigger %s of table %s fires in replica sessions only.', t.name, e.local_table) END,
		format('SELECT jacksync.mend_triggers(%L);', e.entity)
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table
		CROSS JOIN (VALUES ('zz_jacksync_capture'), ('zz_jacksync_truncate')) AS t (name)
		LEFT JOIN LATERAL (SELECT x.tgenabled, x.tgfoid IN ('jacksync.capture'::regproc, 'jacksync.refuse_truncate'::regproc)
				AND (t.name <> 'zz_jacksync_capture' OR x.tgargs = convert_to(e.entity_id::text, 'UTF8') || '\x00'::bytea)
			FROM pg_trigger x WHERE x.tgrelid = c.oid AND x.tgname = t.name) AS g (enabled, ours) ON true
	WHERE g.enabled IS NULL OR g.enabled IN ('D', 'R') OR NOT g.ours
	UNION ALL
	SELECT 'replica', 'error', coalesce(nullif(d.setrole, 0)::regrole::text, 'every role'),
		'session_replication_role is replica by default: local changes are not seen.',
		CASE WHEN d.setdatabase = 0 THEN format('ALTER ROLE %s RESET session_replication_role;', d.setrole::regrole)
			WHEN d.setrole = 0 THEN format('ALTER DATABASE %I RESET session_replication_role;', current_database())
			ELSE format('ALTER ROLE %s IN DATABASE %I RESET session_replication_role;', d.setrole::regrole, current_database()) END
	FROM pg_db_role_setting d, unnest(d.setconfig) AS s (item)
	WHERE s.item ~ '^session_replication_role=(replica|local)$' AND d.setdatabase IN (0, (SELECT x.oid FROM pg_database x WHERE x.datname = current_database()))
	UNION ALL
	SELECT 'rights', 'error', e.entity, format('%s, the owner of table %s, may not %s it, and rows are written as the owner.',
			pg_get_userbyid(c.relowner), e.local_table, lower(string_agg(p.privilege, ', ' ORDER BY p.privilege))),
		format('GRANT ALL ON %s TO %I;', e.local_table, pg_get_userbyid(c.relowner))
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table
		CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS p (privilege)
	WHERE NOT has_table_privilege(c.relowner, c.oid, p.privilege)
	GROUP BY e.entity, e.local_table, c.relowner
	UNION ALL
	SELECT 'rights', 'error', e.entity, format('%s, the owner of table %s, may not use its schema.', pg_get_userbyid(c.relowner), e.local_table),
		format('GRANT USAGE ON SCHEMA %I TO %I;', n.nspname, pg_get_userbyid(c.relowner))
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE NOT has_schema_privilege(c.relowner, n.oid, 'USAGE')
	UNION ALL
	SELECT 'column', 'error', e.entity, format('Column "%s" of table %s (%s) does not exist.', x.col, e.local_table, x.what),
		format('UPDATE jacksync.entity SET %s = ''...'' WHERE entity = %L;', x.what, e.entity)
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table,
		LATERAL (VALUES ('external_id_column', e.external_id_column), ('property_column', e.property_column),
			('urgency_column', e.urgency_column)) AS x (what, col)
	WHERE x.col IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attname = x.col AND a.attnum > 0 AND NOT a.attisdropped)
	UNION ALL
	SELECT 'column', 'error', r.entity, format('Column "%s" of table %s (field "%s") does not exist.', x.col, e.local_table, r.field),
		format('UPDATE jacksync.authority SET column_name = ''...'' WHERE entity = %L AND field = %L; or DELETE the rule.', r.entity, r.field)
	FROM jacksync.authority r JOIN jacksync.entity e ON e.entity = r.entity JOIN pg_class c ON c.oid = e.local_table,
		LATERAL (SELECT coalesce(r.column_name, jacksync.snake_case(r.field))) AS x (col)
	WHERE r.field <> '*' AND NOT EXISTS (SELECT FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attname = x.col AND a.attnum > 0 AND NOT a.attisdropped)
	UNION ALL
	SELECT 'policy', 'error', e.entity, format('Row security of table %s applies to its owner, who could not see all rows.', e.local_table),
		format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY;', e.local_table)
	FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table JOIN pg_roles o ON o.oid = c.relowner
	WHERE c.relrowsecurity AND c.relforcerowsecurity AND NOT o.rolsuper AND NOT o.rolbypassrls
	UNION ALL
	SELECT 'log', 'warning', e.entity, format('%s captured changes wait to be taken up, the oldest for %s.', count(*),
			jacksync.age_text(clock_timestamp() - min(c.changed_at))),
		'The worker takes them up: look at the other findings, or CALL jacksync.sync().'
	FROM jacksync.change c JOIN jacksync.entity e ON e.entity_id = c.entity_id
	GROUP BY e.entity HAVING min(c.changed_at) < clock_timestamp() - interval '10 min' OR count(*) > 100000
$$;
COMMENT ON FUNCTION jacksync.diagnose_tables() IS 'diagnose(): bound tables (internal)';

CREATE FUNCTION jacksync.diagnose_streams()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'stream', 'warning', e.entity, 'The entity has no stream: nothing is read and nothing is sent.',
		'INSERT INTO jacksync.stream (entity, server, request) VALUES (...);'
	FROM jacksync.entity e WHERE NOT EXISTS (SELECT FROM jacksync.stream s WHERE s.entity = e.entity)
	UNION ALL
	SELECT f.check_name, f.status, s.entity || ' from ' || s.server, f.message, f.hint
	FROM jacksync.stream s JOIN jacksync.entity e ON e.entity = s.entity
		LEFT JOIN jacksync.stream_state t ON t.stream_id = s.stream_id
		LEFT JOIN pg_foreign_server v ON v.srvname = s.server
		LEFT JOIN pg_class c ON c.oid = e.local_table
		CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL, s.server) a
		CROSS JOIN LATERAL (VALUES
			('server', 'error', v.oid IS NULL, format('Server "%s" does not exist.', s.server),
				format('CREATE SERVER %I FOREIGN DATA WRAPPER jacksync OPTIONS (base_url ...);', s.server)),
			('mapping', 'error', v.oid IS NOT NULL AND c.oid IS NOT NULL
				AND coalesce((SELECT o.option_value FROM pg_options_to_table(v.srvoptions) o WHERE o.option_name = 'auth'), 'none') <> 'none'
				AND NOT EXISTS (SELECT FROM pg_user_mappings m WHERE m.srvid = v.oid AND m.umuser IN (0, c.relowner)),
				format('Server "%s" needs credentials, and there is no user mapping for %s.', s.server, pg_get_userbyid(c.relowner)),
				format('CREATE USER MAPPING FOR %I SERVER %I OPTIONS (...);', coalesce(pg_get_userbyid(c.relowner), ''), s.server)),
			('disabled', 'warning', NOT s.enabled OR NOT e.enabled, 'The stream or its entity is disabled.',
				format('UPDATE jacksync.stream SET enabled = true WHERE entity = %L AND server = %L; UPDATE jacksync.entity SET enabled = true WHERE entity = %L;',
					s.entity, s.server, s.entity)),
			('quarantine', 'error', t.quarantine IS NOT NULL, t.quarantine,
				format('SELECT jacksync.resync(%L, NULL, %L) believes the PMS; jacksync.resume() goes on when it was mended.', s.entity, s.server)),
			('paused', 'warning', t.paused AND t.quarantine IS NULL, 'The stream is paused.', format('SELECT jacksync.resume(%L, %L);', s.entity, s.server)),
			('failures', CASE WHEN t.failure_count >= 5 THEN 'error' ELSE 'warning' END, t.failure_count > 0,
				format('%s failed runs in a row: %s', t.failure_count, t.last_error),
				format('SELECT jacksync.sync_now(%L, %L) tries at once.', s.entity, s.server)),
			('freshness', CASE a.status WHEN 'critical' THEN 'error' ELSE 'warning' END,
				a.status <> 'fresh' AND s.enabled AND e.enabled, a.warning, format('CALL jacksync.sync(%L, %L);', s.entity, s.server)),
			('push', 'warning', s.push IS NULL AND EXISTS (SELECT FROM jacksync.authority r WHERE r.entity = s.entity
				AND coalesce(r.push, r.strategy IN ('merge', 'latest_wins', 'manual'))),
				'Rules push local values, but the stream has no push: they stay here.',
				format('UPDATE jacksync.authority SET push = false WHERE entity = %L; or give the stream a push.', s.entity)),
			('clock', 'warning', abs(extract(epoch FROM t.skew)) > 60,
				format('The clock of the PMS is %s %s.', jacksync.age_text(CASE WHEN t.skew < '0' THEN -t.skew ELSE t.skew END),
					CASE WHEN t.skew < '0' THEN 'behind ours' ELSE 'ahead of ours' END),
				'latest_wins takes that into account; but see to the clocks (NTP).'),
			('unknown push', 'warning', EXISTS (SELECT FROM jacksync.intent i WHERE i.stream_id = s.stream_id
				AND i.state IN ('claimed', 'unknown') AND i.claimed_at < clock_timestamp() - interval '15 min'),
				'Whether the PMS took some changes is not known for 15 minutes.', 'They are looked up in the next run; SELECT * FROM jacksync.stuck.'),
			('maintenance', 'warning', jacksync.in_maintenance(s.server), 'The server is in a maintenance window: it is not polled.',
				'SELECT * FROM jacksync.maintenance_window.')
		) AS f (check_name, status, found, message, hint)
	WHERE f.found
$$;
COMMENT ON FUNCTION jacksync.diagnose_streams() IS 'diagnose(): streams (internal)';

CREATE FUNCTION jacksync.diagnose_records()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'dead letters', 'error', concat_ws(' from ', x.entity, x.server), format('%s records were given up.', count(*)),
		'SELECT error_id, external_id, error FROM jacksync.sync_error WHERE state = ''dead''; then jacksync.requeue() or jacksync.discard().'
	FROM jacksync.sync_error x WHERE x.state = 'dead' GROUP BY x.entity, x.server
	UNION ALL
	SELECT 'retries', 'warning', concat_ws(' from ', x.entity, x.server), format('%s records failed and are tried again.', count(*)),
		'SELECT external_id, error, next_attempt_at FROM jacksync.sync_error WHERE state = ''retry'';'
	FROM jacksync.sync_error x WHERE x.state = 'retry' GROUP BY x.entity, x.server
	UNION ALL
	SELECT 'locked rows', 'warning', x.entity, format('%s records wait for rows that somebody holds for %s%s.', count(*),
			jacksync.age_text(clock_timestamp() - min(x.first_seen_at)),
			coalesce('; sessions with a lock on the table: ' || array_to_string(h.pids, ', '), '')),
		CASE WHEN h.pids IS NULL THEN 'They are tried again in the next run: SELECT * FROM jacksync.stuck;'
			ELSE format('SELECT pid, usename, state, xact_start, query FROM pg_stat_activity WHERE pid = ANY (%L); SELECT pg_terminate_backend(pid) ends one.', h.pids) END
	FROM jacksync.sync_error x LEFT JOIN jacksync.entity e ON e.entity = x.entity
		LEFT JOIN LATERAL (SELECT jacksync.holders(e.local_table) AS pids) h ON true
	WHERE x.state = 'waiting' AND x.first_seen_at < clock_timestamp() - interval '5 min' GROUP BY x.entity, h.pids
	UNION ALL
	SELECT 'conflicts', 'warning', m.entity, format('%s conflicts wait for a person, the oldest for %s.', count(*),
			jacksync.age_text(clock_timestamp() - min(m.detected_at))), 'SELECT * FROM jacksync.open_conflict;'
	FROM jacksync.manual_conflict m WHERE m.status = 'pending' GROUP BY m.entity
	UNION ALL
	SELECT 'held deletes', 'error', concat_ws(' from ', d.entity, d.server), format('%s deletes of the PMS are held.', count(*)),
		format('SELECT jacksync.release_deletes(%L, %L), or jacksync.reject_deletes(%L, %L).', d.entity, d.server, d.entity, d.server)
	FROM jacksync.held_delete d WHERE d.state = 'held' GROUP BY d.entity, d.server
	UNION ALL
	SELECT 'alerts', 'warning', d.channel, format('%s messages could not be delivered: %s', count(*), max(d.last_error)),
		format('Mend it, then SELECT jacksync.test_channel(%L).', d.channel)
	FROM jacksync.alert_delivery d WHERE d.state = 'dead' GROUP BY d.channel
	UNION ALL
	SELECT 'alerts', 'warning', d.channel, format('%s messages wait to be delivered, the oldest for %s%s.', count(*),
			jacksync.age_text(clock_timestamp() - min(a.raised_at)), coalesce(': ' || max(d.last_error), '')),
		'The worker delivers them; SELECT * FROM jacksync.alert_delivery WHERE state = ''pending''.'
	FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id) JOIN jacksync.alert_channel c USING (channel)
	WHERE d.state = 'pending' AND c.enabled AND a.raised_at < clock_timestamp() - interval '10 min' GROUP BY d.channel
	UNION ALL
	SELECT 'alerts', 'warning', 'channels', 'No alert channel is enabled: nobody is told.',
		'INSERT INTO jacksync.alert_channel ...; SELECT jacksync.test_channel(...).'
	WHERE NOT EXISTS (SELECT FROM jacksync.alert_channel c WHERE c.enabled AND c.type <> 'dashboard')
$$;
COMMENT ON FUNCTION jacksync.diagnose_records() IS 'diagnose(): records, conflicts, alerts (internal)';

CREATE FUNCTION jacksync.diagnose_server()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'setting', f.status, f.name, f.message, f.hint
	FROM (VALUES
		('error', 'fsync', 'off', 'fsync is off: a crash of the machine may lose what was recorded.', 'ALTER SYSTEM SET fsync = on;'),
		('error', 'full_page_writes', 'off', 'full_page_writes is off: a crash of the machine may spoil data.', 'ALTER SYSTEM SET full_page_writes = on;'),
		('warning', 'synchronous_commit', 'off', 'synchronous_commit is off: a crash may lose the last local edits (pushes are not concerned).',
			'Set it to on for the database.')) AS f (status, name, bad, message, hint)
	WHERE current_setting(f.name) = f.bad
	UNION ALL
	SELECT 'setting', 'warning', 'max_worker_processes', format('%s of %s worker processes are in use.', n, current_setting('max_worker_processes')),
		'Raise max_worker_processes: the launcher and each database need one.'
	FROM (SELECT count(*) FROM pg_stat_activity a WHERE a.backend_type NOT IN ('client backend', 'autovacuum launcher', 'autovacuum worker',
			'background writer', 'checkpointer', 'startup', 'walreceiver', 'walsender', 'walwriter', 'archiver', 'logger', 'io worker', 'walsummarizer')) AS w (n)
	WHERE n >= current_setting('max_worker_processes')::integer
	UNION ALL
	SELECT 'copy', 'error', current_database(), 'This database was copied from another cluster or database: nothing is sent to the PMS.',
		'If this is the original now: SELECT jacksync.adopt();'
	FROM jacksync.installation i, pg_control_system() c, pg_database d
	WHERE d.datname = current_database() AND (i.system_identifier <> c.system_identifier OR i.database_oid <> d.oid)
	UNION ALL
	SELECT 'prepared', 'warning', 'transactions', format('%s prepared transactions hold locks, the oldest for %s.', count(*),
			jacksync.age_text(clock_timestamp() - min(p.prepared))), 'SELECT * FROM pg_prepared_xacts; COMMIT PREPARED or ROLLBACK PREPARED.'
	FROM pg_prepared_xacts p WHERE p.database = current_database() HAVING min(p.prepared) < clock_timestamp() - interval '5 min'
$$;
COMMENT ON FUNCTION jacksync.diagnose_server() IS 'diagnose(): settings of the server (internal)';

/* what diagnose() names for triggers that are missing, disabled or not ours */
CREATE FUNCTION jacksync.mend_triggers(entity text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	e	jacksync.entity;
BEGIN
	SELECT * INTO e FROM jacksync.entity x WHERE x.entity = mend_triggers.entity;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity
			USING ERRCODE = 'undefined_object', HINT = 'SELECT entity FROM jacksync.entity lists the entities.';
	END IF;
	EXECUTE format('DROP TRIGGER IF EXISTS zz_jacksync_capture ON %s', e.local_table);
	EXECUTE format('DROP TRIGGER IF EXISTS zz_jacksync_truncate ON %s', e.local_table);
	EXECUTE format('CREATE TRIGGER zz_jacksync_capture AFTER INSERT OR UPDATE OR DELETE ON %s
		FOR EACH ROW EXECUTE FUNCTION jacksync.capture(%L)', e.local_table, e.entity_id);
	EXECUTE format('CREATE TRIGGER zz_jacksync_truncate BEFORE TRUNCATE ON %s
		FOR EACH STATEMENT EXECUTE FUNCTION jacksync.refuse_truncate()', e.local_table);
	INSERT INTO jacksync.audit_log (operation, entity, after_state, resolved_by)
		VALUES ('manual_override', entity, '{"triggers": "mended"}', jacksync.acting_role());
END
$$;
COMMENT ON FUNCTION jacksync.mend_triggers(text) IS
'puts the triggers of a bound table on it again; what was changed without them is found by the sweep, or by reconcile()';

CREATE FUNCTION jacksync.diagnose_connections()
RETURNS SETOF jacksync.finding
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'connection', CASE s.state WHEN 'failing' THEN 'warning' WHEN 'busy' THEN 'warning' ELSE 'error' END, s.server::text,
		CASE s.state WHEN 'refused' THEN 'The PMS does not accept the credentials' WHEN 'untrusted' THEN 'The certificate is not accepted'
			WHEN 'busy' THEN 'The PMS asked for a pause' WHEN 'open' THEN format('%s requests in a row had no proper answer', s.failures)
			ELSE 'The PMS did not answer lately' END
			|| coalesce(format(', it is left alone until %s', date_trunc('second', s.blocked_until)), '') || coalesce(': ' || s.reason, '.'),
		CASE s.state WHEN 'refused' THEN format('ALTER USER MAPPING FOR ... SERVER %I OPTIONS (SET ...); it is tried by itself then.', s.server)
			WHEN 'untrusted' THEN format('Have the certificate renewed, or name a private CA: ALTER SERVER %I OPTIONS (ADD ca_file ''/path'');', s.server)
			ELSE format('SELECT jacksync.sync_now(NULL, %L) tries at once.', s.server) END
	FROM jacksync.server_status s WHERE s.state <> 'ok'
$$;
COMMENT ON FUNCTION jacksync.diagnose_connections() IS 'diagnose(): the servers of the PMS (internal)';

CREATE FUNCTION jacksync.diagnose()
RETURNS SETOF jacksync.finding
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	RETURN QUERY
	WITH found AS (
		SELECT * FROM jacksync.diagnose_worker() UNION ALL SELECT * FROM jacksync.diagnose_tables()
		UNION ALL SELECT * FROM jacksync.diagnose_streams() UNION ALL SELECT * FROM jacksync.diagnose_records()
		UNION ALL SELECT * FROM jacksync.diagnose_server() UNION ALL SELECT * FROM jacksync.diagnose_connections())
	SELECT f.* FROM (
		SELECT * FROM found
		UNION ALL
		SELECT k.name, 'ok', NULL, k.words, NULL
		FROM (VALUES ('worker', 'The worker runs.'), ('version', 'Extension and library agree.'), ('table', 'All bound tables are there.'),
			('trigger', 'All local changes are seen.'), ('stream', 'Every entity has a stream.'), ('failures', 'No run failed.'),
			('freshness', 'All data is fresh.'), ('dead letters', 'No record was given up.'), ('conflicts', 'No conflict waits.'),
			('setting', 'The settings of the server are safe.')) AS k (name, words)
		WHERE NOT EXISTS (SELECT FROM found x WHERE x.check_name = k.name)
			AND NOT (k.name = 'worker' AND pg_is_in_recovery())) AS f
	ORDER BY array_position('{error,warning,ok}', f.status), f.check_name, f.subject;
END
$$;
COMMENT ON FUNCTION jacksync.diagnose() IS
'what is wrong, worst first, each with what to do about it';

CREATE VIEW jacksync.stat AS
SELECT s.entity, s.server, (count(r.run_id) + coalesce(sum(r.idle), 0))::bigint AS runs, count(*) FILTER (WHERE NOT r.success) AS failed_runs,
	coalesce(sum(r.records_processed), 0) AS records_processed, coalesce(sum(r.created), 0) AS created,
	coalesce(sum(r.updated), 0) AS updated, coalesce(sum(r.unchanged), 0) AS unchanged,
	coalesce(sum(r.pushed), 0) AS pushed, coalesce(sum(r.conflicts), 0) AS conflicts, coalesce(sum(r.errors), 0) AS errors,
	avg(r.completed - r.started) FILTER (WHERE r.started > pg_catalog.now() - interval '24 hours') AS average_duration,
	max(r.completed - r.started) FILTER (WHERE r.started > pg_catalog.now() - interval '24 hours') AS longest_duration,
	(SELECT count(*) FROM jacksync.sync_error x WHERE x.entity = s.entity AND x.server = s.server AND x.state = 'dead') AS dead_letters
FROM jacksync.stream s LEFT JOIN jacksync.sync_run r ON r.entity = s.entity AND r.server = s.server
GROUP BY s.entity, s.server;
COMMENT ON VIEW jacksync.stat IS 'counters per entity and server, of the runs that are kept (jacksync.sync_run)';
