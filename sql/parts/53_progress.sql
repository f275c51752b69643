/* what runs now, live from shared memory: src/progress.c */
CREATE VIEW jacksync.progress AS
SELECT s.entity, s.server, p.run_id, p.phase, p.pages,
	p.records AS records_done, n.total AS records_total,
	round((p.records / greatest(extract(epoch FROM pg_catalog.clock_timestamp() - p.started), 0.001))::numeric, 1) AS rate,
	CASE WHEN n.total > 0 AND p.records > 0 AND p.phase <> 'push'
		THEN (pg_catalog.clock_timestamp() - p.started) * greatest(n.total::float8 / p.records - 1, 0) END AS eta,
	p.pushed, p.started, p.phase_started, p.pid
FROM jacksync.progress_slots() p
	JOIN jacksync.stream s ON s.stream_id = p.stream_id
	CROSS JOIN LATERAL (SELECT CASE
		WHEN p.total IS NOT NULL THEN p.total
		-- what is read again is as much as is known
		WHEN p.phase = 'full read' THEN (SELECT count(*) FROM jacksync.link l
			WHERE l.stream_id = p.stream_id AND l.state = 'l') END) AS n (total);
COMMENT ON VIEW jacksync.progress IS
'what the worker and sessions do now, and how far they are; total and eta where the number of records is known';
COMMENT ON COLUMN jacksync.progress.phase IS 'look up, initial load, pull, full read or push';
COMMENT ON COLUMN jacksync.progress.pages IS 'pages of the walk that are done';
COMMENT ON COLUMN jacksync.progress.records_done IS 'records of this run that are done';
COMMENT ON COLUMN jacksync.progress.records_total IS 'how many there are, if that is known';
COMMENT ON COLUMN jacksync.progress.rate IS 'records per second of this run';
COMMENT ON COLUMN jacksync.progress.eta IS 'how long it will take from now on';
COMMENT ON COLUMN jacksync.progress.pushed IS 'changes that the PMS accepted in this run';
COMMENT ON COLUMN jacksync.progress.pid IS 'the process: the worker, or a session that called sync()';
