/*
 * Views for people.  What waits in jacksync.change is not yet in
 * jacksync.link; it is aggregated once, so that a whole listing is one hash
 * join and not one walk through the log per record.
 */
CREATE VIEW jacksync.record AS
SELECT l.record_id, e.entity, s.server, l.local_id, l.external_id,
	greatest(l.local_updated_at, c.changed_at) AS local_updated_at,
	l.pms_updated_at, l.last_sync_at,
	CASE
		WHEN l.failed THEN 'sync_error'
		WHEN l.conflict THEN 'conflict'
		WHEN l.waiting OR c.waiting THEN 'local_modified'
		WHEN l.must_pull OR EXISTS (
			SELECT FROM jacksync.sync_error x
			WHERE x.entity = e.entity AND x.external_id = l.external_id
				AND coalesce(x.server, '') = coalesce(s.server, '')
				AND x.direction = 'pull' AND x.state = 'waiting' AND x.payload IS NOT NULL)
			THEN 'pms_modified'
		ELSE 'synced'
	END::jacksync.sync_status AS sync_status,
	-- a guest's data is for those who may read the guest's row
	CASE WHEN pg_catalog.has_table_privilege(e.local_table, 'SELECT')
			AND NOT pg_catalog.row_security_active(e.local_table)
		THEN l.snapshot END AS snapshot,
	l.state IN ('t', 'f') AS deleted,
	l.intent_id IS NOT NULL AS push_open
FROM jacksync.link l
	JOIN jacksync.entity e ON e.entity_id = l.entity_id
	LEFT JOIN jacksync.stream s ON s.stream_id = l.stream_id
	LEFT JOIN (
		SELECT c.entity_id, c.local_id, max(c.changed_at) AS changed_at, bool_or(c.waiting) AS waiting
		FROM jacksync.change c
		GROUP BY c.entity_id, c.local_id) c ON c.entity_id = l.entity_id AND c.local_id = l.local_id;
COMMENT ON VIEW jacksync.record IS
'every synchronised record: its ids, its state, and what both sides agreed on (for those who may read the local table)';

CREATE VIEW jacksync.status AS
SELECT s.entity, s.server, f.last_sync_at AS last_sync,
	CASE
		WHEN t.failure_count > 0 THEN 'error'
		WHEN t.progress IS NOT NULL THEN 'syncing'
		WHEN f.status <> 'fresh' THEN 'stale'
		ELSE 'connected'
	END AS status,
	CASE
		WHEN NOT (s.enabled AND e.enabled) THEN 'disabled'
		WHEN t.quarantine IS NOT NULL THEN t.quarantine
		WHEN t.paused THEN 'paused'
		WHEN jacksync.in_maintenance(s.server) THEN 'maintenance window'
		WHEN t.failure_count > 0 THEN t.last_error
		ELSE f.warning
	END AS message,
	CASE WHEN s.enabled AND e.enabled AND NOT t.paused THEN jacksync.live_next_due(t.stream_id, t.next_due_at) END AS next_sync,
	coalesce(t.failure_count, 0) AS failure_count,
	(SELECT count(*) FROM jacksync.link l
		WHERE l.stream_id = s.stream_id AND (l.waiting OR l.intent_id IS NOT NULL))
	+ (SELECT count(DISTINCT c.local_id) FROM jacksync.change c
			LEFT JOIN jacksync.link l ON l.entity_id = c.entity_id AND l.local_id = c.local_id
		WHERE c.entity_id = e.entity_id AND c.waiting
			AND (l.record_id IS NULL
				OR (l.stream_id = s.stream_id AND NOT l.waiting AND l.intent_id IS NULL))) AS pending_push,
	(SELECT count(*) FROM jacksync.manual_conflict m
		WHERE m.entity = s.entity AND m.server = s.server AND m.status = 'pending') AS pending_conflicts,
	(SELECT string_agg(a.message, ' ' ORDER BY a.alert_id) FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.level = 'critical'
			AND a.entity = s.entity AND a.server = s.server) AS banner,
	jacksync.stream_tier(s.push) AS tier
FROM jacksync.stream s
	JOIN jacksync.entity e ON e.entity = s.entity
	LEFT JOIN jacksync.stream_state t ON t.stream_id = s.stream_id
	CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL, s.server) f;
COMMENT ON VIEW jacksync.status IS
'how every entity stands with every server';
COMMENT ON COLUMN jacksync.status.status IS 'connected, syncing, stale or error';
COMMENT ON COLUMN jacksync.status.pending_push IS 'records with local changes that the PMS, or a revert, has yet to take up';
COMMENT ON COLUMN jacksync.status.tier IS 'what the PMS promises of writes: A, B, C or D (see stream_tier and check_stream)';
COMMENT ON COLUMN jacksync.status.banner IS 'what everybody should see: the open critical alerts';

CREATE VIEW jacksync.open_conflict AS
SELECT m.conflict_id, m.entity, m.server, m.local_id, m.external_id, m.field, m.field_group,
	m.urgency, m.base_value, m.local_value, m.pms_value, m.reason, m.detected_at, m.updated_at
FROM jacksync.manual_conflict m
WHERE m.status = 'pending'
ORDER BY m.urgency NULLS LAST, m.detected_at, m.conflict_id;
COMMENT ON VIEW jacksync.open_conflict IS
'conflicts that wait for a person, the most urgent first: ordered by the urgency_column of the entity (such as the arrival date), then by age';

CREATE VIEW jacksync.held_delete AS
SELECT s.entity, s.server, d.external_id, l.local_id, d.seen_at, d.state
FROM jacksync.pending_delete d
	JOIN jacksync.stream s USING (stream_id)
	JOIN jacksync.entity e ON e.entity = s.entity
	LEFT JOIN jacksync.link l ON l.entity_id = e.entity_id AND l.external_id = d.external_id
		AND l.stream_id = d.stream_id
WHERE d.state IN ('held', 'released', 'rejected');
COMMENT ON VIEW jacksync.held_delete IS
'deletes of the PMS that were too many to be carried out without a person: release_deletes() or reject_deletes()';

CREATE VIEW jacksync.worker_status AS
SELECT w.pid,
	CASE WHEN a.pid IS NULL THEN 'dead' ELSE coalesce(a.state, 'idle') END AS state,
	w.started_at, greatest(w.heartbeat, c.last_turn) AS heartbeat, w.library_version,
	a.wait_event, nullif(a.query, '') AS doing,
	c.cycles, c.turns AS wakeups,
	round((c.turns * 60 / greatest(extract(epoch FROM pg_catalog.clock_timestamp() - c.started), 1))::numeric, 1) AS wakeups_per_minute
FROM jacksync.worker w
	LEFT JOIN LATERAL jacksync.worker_counters() c ON c.pid = w.pid
	LEFT JOIN pg_catalog.pg_stat_activity a
		ON a.pid = w.pid AND a.datname = pg_catalog.current_database()
			AND (a.backend_type LIKE 'jacksync%' OR a.backend_type IS NULL);
COMMENT ON VIEW jacksync.worker_status IS
'the background worker of this database';
COMMENT ON COLUMN jacksync.worker_status.state IS 'dead, idle or active';
COMMENT ON COLUMN jacksync.worker_status.heartbeat IS 'when it last woke up: at least every 15 seconds';
COMMENT ON COLUMN jacksync.worker_status.doing IS 'what it does, or did last';
COMMENT ON COLUMN jacksync.worker_status.cycles IS 'cycles that run now';
COMMENT ON COLUMN jacksync.worker_status.wakeups IS 'how often it woke up since it started';
COMMENT ON COLUMN jacksync.worker_status.wakeups_per_minute IS 'the same per minute';
