/* what runs now: as far as its last transaction, which is at most some hundred records ago */
CREATE VIEW jacksync.progress AS
SELECT s.entity, s.server, r.run_id,
	CASE WHEN r.kind = 'push' OR t.progress IS NULL THEN 'push' WHEN NOT t.initial_done THEN 'initial load' ELSE 'pull' END AS phase,
	(t.progress ->> 'pages')::bigint AS pages,
	r.records_processed AS records_done,
	CASE WHEN t.progress IS NOT NULL AND t.initial_done AND t.full_wanted
		THEN (SELECT count(*) FROM jacksync.link l WHERE l.stream_id = s.stream_id AND l.state = 'l') END AS records_total,
	round((r.records_processed / greatest(extract(epoch FROM pg_catalog.clock_timestamp() - r.started), 0.001))::numeric, 1) AS records_per_second,
	CASE WHEN t.progress IS NOT NULL AND t.initial_done AND t.full_wanted AND r.records_processed > 0
		THEN (pg_catalog.clock_timestamp() - r.started) * greatest((SELECT count(*) FROM jacksync.link l
			WHERE l.stream_id = s.stream_id AND l.state = 'l')::float8 / r.records_processed - 1, 0) END AS eta,
	r.pushed, r.started
FROM jacksync.sync_run r
	JOIN jacksync.stream s ON s.entity = r.entity AND s.server = r.server
	JOIN jacksync.stream_state t ON t.stream_id = s.stream_id
WHERE r.completed IS NULL AND r.kind IN ('sync', 'push')
	-- a run that a crash cut off is not completed either; it is not the last one
	AND r.run_id = (SELECT max(x.run_id) FROM jacksync.sync_run x WHERE x.entity = s.entity AND x.server = s.server);
COMMENT ON VIEW jacksync.progress IS
'what runs now, and how far it is; total and eta where the number of records is known';
