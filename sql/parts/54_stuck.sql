/*
 * Every record that is late, and why.
 */
CREATE FUNCTION jacksync.holders(local_table regclass)
RETURNS integer[]
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(DISTINCT l.pid) FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.relation = holders.local_table AND l.granted AND l.pid <> pg_backend_pid()
		AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
		AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock')
		AND coalesce(a.xact_start < clock_timestamp() - interval '2 s', true)
$$;
COMMENT ON FUNCTION jacksync.holders(regclass) IS
'the sessions whose transaction may hold rows of a table for some time (internal)';

/* why a stream takes nothing up; NULL: nothing is in its way */
CREATE FUNCTION jacksync.stream_obstacle(stream integer, entity text)
RETURNS text
LANGUAGE sql
STABLE
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
	SELECT CASE
		WHEN NOT e.enabled THEN 'the entity is disabled'
		WHEN s.stream_id IS NULL THEN 'the entity has no stream'
		WHEN NOT s.enabled THEN 'the stream is disabled'
		WHEN t.quarantine IS NOT NULL THEN t.quarantine
		WHEN t.paused THEN 'the stream is paused'
		WHEN t.failure_count > 0 THEN format('its runs fail (%s in a row, the next at %s): %s', t.failure_count,
			to_char(t.next_due_at, 'YYYY-MM-DD HH24:MI:SS'), t.last_error)
		WHEN jacksync.in_maintenance(s.server) THEN 'the server is in a maintenance window'
		WHEN NOT t.initial_done THEN 'the initial load is not complete'
	END
	FROM jacksync.entity e
		LEFT JOIN jacksync.stream s ON s.entity = e.entity AND s.stream_id = stream_obstacle.stream
		LEFT JOIN jacksync.stream_state t ON t.stream_id = s.stream_id
	WHERE e.entity = stream_obstacle.entity
$$;
COMMENT ON FUNCTION jacksync.stream_obstacle(integer, text) IS
'why a stream takes nothing up now (internal)';

CREATE VIEW jacksync.stuck AS
-- known records
SELECT e.entity, s.server, l.external_id, l.local_id,
	CASE
		WHEN l.intent_id IS NOT NULL THEN 'whether the PMS took a change is not known yet: '
			|| coalesce(o.words, 'it is looked up in the next run')
		WHEN x.error_id IS NOT NULL THEN pg_catalog.format('%s (%s, tried %s times%s)', x.error,
			CASE x.state WHEN 'dead' THEN 'given up' ELSE 'failed' END, x.attempts,
			CASE WHEN x.state = 'retry' THEN ', next at ' || pg_catalog.to_char(x.next_attempt_at, 'YYYY-MM-DD HH24:MI:SS') ELSE '' END)
		WHEN l.failed THEN 'failed'
		WHEN l.conflict AND NOT l.waiting AND NOT l.must_pull THEN 'a conflict waits for a person'
		WHEN o.words IS NOT NULL THEN o.words
		WHEN l.must_pull THEN 'the PMS has something newer, which is read in the next run'
		WHEN s.push IS NULL THEN 'the stream has no push'
		WHEN l.next_push_at > pg_catalog.now() THEN 'the last push failed; the next one is at '
			|| pg_catalog.to_char(l.next_push_at, 'YYYY-MM-DD HH24:MI:SS')
		WHEN l.conflict THEN 'a conflict waits for a person'
		WHEN NOT l.dirty THEN 'no operation of the stream covers what was changed'
		WHEN h.pids IS NOT NULL THEN 'somebody holds the row: ' || pg_catalog.array_to_string(h.pids, ', ')
		WHEN NOT EXISTS (SELECT FROM jacksync.worker_status w WHERE w.state <> 'dead') THEN 'no worker runs'
		ELSE 'a local change waits to be pushed'
	END AS reason,
	coalesce(i.claimed_at, x.first_seen_at,
		CASE WHEN l.conflict AND NOT l.waiting THEN (SELECT min(m.detected_at) FROM jacksync.manual_conflict m
			WHERE m.record_id = l.record_id AND m.status = 'pending') END, l.local_updated_at, l.last_sync_at) AS since,
	h.pids AS blocking_pids
FROM jacksync.link l
	JOIN jacksync.entity e ON e.entity_id = l.entity_id
	LEFT JOIN jacksync.stream s ON s.stream_id = l.stream_id
	LEFT JOIN jacksync.intent i ON i.intent_id = l.intent_id
	LEFT JOIN LATERAL (
		SELECT x.* FROM jacksync.sync_error x
		WHERE l.failed AND x.entity = e.entity
			AND (x.external_id = l.external_id OR x.local_id = l.local_id)
			AND x.state IN ('retry', 'dead') ORDER BY x.error_id DESC LIMIT 1) x ON true
	LEFT JOIN LATERAL (SELECT jacksync.stream_obstacle(l.stream_id, e.entity) AS words) o ON true
	LEFT JOIN LATERAL (SELECT CASE WHEN l.dirty THEN jacksync.holders(e.local_table) END AS pids) h ON true
WHERE l.state NOT IN ('t', 'f') AND (l.intent_id IS NOT NULL OR l.failed OR l.conflict OR l.must_pull
	OR (l.waiting AND l.local_updated_at < pg_catalog.now() - interval '5 min'))
UNION ALL
-- what the PMS sent and could not be applied, of records that are not known, or whose row is held
SELECT x.entity, x.server, x.external_id, x.local_id,
	CASE
		WHEN x.state IN ('retry', 'dead') THEN pg_catalog.format('%s (%s, tried %s times)', x.error,
			CASE x.state WHEN 'dead' THEN 'given up' ELSE 'failed' END, x.attempts)
		WHEN x.sqlstate = '55P03' AND h.pids IS NOT NULL THEN 'somebody holds the row: ' || pg_catalog.array_to_string(h.pids, ', ')
		WHEN o.words IS NOT NULL THEN x.error || '; ' || o.words
		ELSE x.error
	END, x.first_seen_at, h.pids
FROM jacksync.sync_error x
	JOIN jacksync.entity e ON e.entity = x.entity
	LEFT JOIN jacksync.stream s ON s.entity = x.entity AND s.server = x.server
	LEFT JOIN LATERAL (SELECT jacksync.stream_obstacle(s.stream_id, e.entity) AS words) o ON true
	LEFT JOIN LATERAL (SELECT CASE WHEN x.state = 'waiting' THEN jacksync.holders(e.local_table) END AS pids) h ON true
WHERE (x.state = 'waiting' AND x.first_seen_at < pg_catalog.now() - interval '1 min')
	OR (x.state IN ('retry', 'dead') AND NOT EXISTS (SELECT FROM jacksync.link l
		WHERE l.entity_id = e.entity_id AND l.failed AND (l.external_id = x.external_id OR l.local_id = x.local_id)))
UNION ALL
-- captured, and not taken up
SELECT e.entity, s.server, l.external_id, c.local_id,
	coalesce(o.words, CASE WHEN NOT EXISTS (SELECT FROM jacksync.worker_status w WHERE w.state <> 'dead')
		THEN 'no worker runs' ELSE 'a captured change is not taken up yet' END), c.since, NULL
FROM (SELECT c.entity_id, c.local_id, min(c.changed_at) AS since FROM jacksync.change c
		WHERE c.changed_at < pg_catalog.now() - interval '1 min' GROUP BY c.entity_id, c.local_id) c
	JOIN jacksync.entity e ON e.entity_id = c.entity_id
	LEFT JOIN jacksync.link l ON l.entity_id = c.entity_id AND l.local_id = c.local_id
	LEFT JOIN LATERAL (SELECT s.stream_id, s.server FROM jacksync.stream s
		WHERE s.entity = e.entity AND (l.stream_id IS NULL OR s.stream_id = l.stream_id)
		ORDER BY s.stream_id LIMIT 1) s ON true
	LEFT JOIN LATERAL (SELECT jacksync.stream_obstacle(s.stream_id, e.entity) AS words) o ON true
UNION ALL
-- deletes that wait for a person
SELECT d.entity, d.server, d.external_id, d.local_id, 'its delete at the PMS is held for a person', d.seen_at, NULL
FROM jacksync.held_delete d WHERE d.state = 'held';
COMMENT ON VIEW jacksync.stuck IS
'every record that is late, with the reason, and the sessions that are in its way';
COMMENT ON COLUMN jacksync.stuck.reason IS 'why it is late';
COMMENT ON COLUMN jacksync.stuck.since IS 'since when';
COMMENT ON COLUMN jacksync.stuck.blocking_pids IS 'sessions whose transaction may hold the row';
