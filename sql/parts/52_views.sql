CREATE VIEW jacksync.record AS
SELECT l.record_id, e.entity, s.server, l.local_id, l.external_id,
	greatest(l.local_updated_at, c.changed_at) AS local_updated_at,
	l.pms_updated_at, l.last_sync_at,
	CASE
		WHEN l.failed THEN 'sync_error'
		WHEN l.conflict THEN 'conflict'
		WHEN l.waiting OR c.waiting THEN 'local_modified'
		WHEN l.must_pull THEN 'pms_modified'
		ELSE 'synced'
	END::jacksync.sync_status AS sync_status,
	l.snapshot,
	l.state = 't' AS deleted,
	l.intent_id IS NOT NULL AS push_open
FROM jacksync.link l
	JOIN jacksync.entity e ON e.entity_id = l.entity_id
	LEFT JOIN jacksync.stream s ON s.stream_id = l.stream_id
	LEFT JOIN LATERAL (
		SELECT max(c.changed_at) AS changed_at, bool_or(c.waiting) AS waiting
		FROM jacksync.change c
		WHERE c.entity_id = l.entity_id AND c.local_id = l.local_id) c ON true;
COMMENT ON VIEW jacksync.record IS
'every synchronised record: its ids, its state, and what both sides agreed on';

CREATE VIEW jacksync.status AS
SELECT s.entity, s.server, t.last_sync_at AS last_sync,
	CASE
		WHEN t.failure_count > 0 THEN 'error'
		WHEN f.status <> 'fresh' AND t.progress IS NOT NULL THEN 'syncing'
		WHEN f.status <> 'fresh' THEN 'stale'
		WHEN t.progress IS NOT NULL THEN 'syncing'
		ELSE 'connected'
	END AS status,
	CASE
		WHEN NOT s.enabled THEN 'disabled'
		WHEN t.paused THEN 'paused'
		WHEN t.failure_count > 0 THEN t.last_error
		ELSE f.warning
	END AS message,
	t.next_due_at AS next_sync,
	t.failure_count,
	(SELECT count(*) FROM jacksync.link l
		WHERE l.stream_id = s.stream_id AND (l.waiting OR l.intent_id IS NOT NULL))
	+ (SELECT count(DISTINCT c.local_id) FROM jacksync.change c
		WHERE c.entity_id = e.entity_id AND c.waiting) AS pending_push,
	(SELECT count(*) FROM jacksync.manual_conflict m
		WHERE m.entity = s.entity AND m.server = s.server AND m.status = 'pending') AS pending_conflicts,
	(SELECT string_agg(a.message, ' ' ORDER BY a.alert_id) FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.level = 'critical'
			AND a.entity = s.entity AND a.server = s.server) AS banner
FROM jacksync.stream s
	JOIN jacksync.stream_state t USING (stream_id)
	JOIN jacksync.entity e ON e.entity = s.entity
	CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL,
		CASE WHEN s.enabled THEN s.server END) f;
COMMENT ON VIEW jacksync.status IS
'how every entity stands with every server';

CREATE VIEW jacksync.worker_status AS
SELECT w.pid,
	CASE WHEN a.pid IS NULL THEN 'dead' ELSE coalesce(a.state, 'idle') END AS state,
	w.started_at, w.heartbeat, w.library_version,
	a.wait_event, nullif(a.query, '') AS doing
FROM jacksync.worker w
	LEFT JOIN pg_catalog.pg_stat_activity a
		ON a.pid = w.pid AND a.backend_type LIKE 'jacksync%';
COMMENT ON VIEW jacksync.worker_status IS
'the background worker of this database';

CREATE VIEW jacksync.stuck AS
SELECT e.entity, s.server, l.external_id, l.local_id,
	CASE
		WHEN l.intent_id IS NOT NULL THEN 'whether the PMS took a change is not known yet'
		WHEN l.failed THEN coalesce((SELECT x.error FROM jacksync.sync_error x
			WHERE x.entity = e.entity AND x.external_id = l.external_id
				AND x.state IN ('retry', 'dead') ORDER BY x.error_id DESC LIMIT 1), 'failed')
		WHEN t.paused THEN 'the stream is paused'
		WHEN t.failure_count > 0 THEN t.last_error
		WHEN s.push IS NULL THEN 'the stream has no push'
		ELSE 'a local change waits to be pushed'
	END AS reason,
	l.local_updated_at AS since
FROM jacksync.link l
	JOIN jacksync.entity e ON e.entity_id = l.entity_id
	LEFT JOIN jacksync.stream s ON s.stream_id = l.stream_id
	LEFT JOIN jacksync.stream_state t ON t.stream_id = l.stream_id
WHERE l.intent_id IS NOT NULL OR l.failed OR (l.waiting AND
	l.local_updated_at < pg_catalog.now() - interval '5 min');
COMMENT ON VIEW jacksync.stuck IS
'records that are late, with the reason';
