/*
 * What both sides do not agree on though no feed and no trigger told of it:
 * found by reconcile() and by the worker's daily comparison (src/reconcile.c),
 * and by the sweep through the local rows (src/sweep.c).
 */
CREATE TABLE jacksync.drift
(
	drift_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	found_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	entity		text COLLATE "C" NOT NULL,
	server		name,
	local_id	text COLLATE "C",
	external_id	text COLLATE "C",
	field		text COLLATE "C",
	base_value	jsonb,
	local_value	jsonb,
	pms_value	jsonb,
	reason		text NOT NULL CHECK (reason IN ('missed_at_pms', 'uncaptured', 'both_changed',
		'waiting', 'held', 'missing_here', 'missing_at_pms')),
	repaired	boolean NOT NULL DEFAULT false,
	run_id		bigint
);
CREATE INDEX drift_found_at ON jacksync.drift (found_at);
COMMENT ON TABLE jacksync.drift IS
'differences between both sides that no feed and no trigger told of, per field';
COMMENT ON COLUMN jacksync.drift.drift_id IS 'number of the difference';
COMMENT ON COLUMN jacksync.drift.found_at IS 'when it was found';
COMMENT ON COLUMN jacksync.drift.entity IS 'entity';
COMMENT ON COLUMN jacksync.drift.server IS 'server';
COMMENT ON COLUMN jacksync.drift.local_id IS 'primary key of the local row; NULL: there is none';
COMMENT ON COLUMN jacksync.drift.external_id IS 'id at the PMS; NULL: the PMS does not know the row';
COMMENT ON COLUMN jacksync.drift.field IS 'the field; NULL: the record as a whole';
COMMENT ON COLUMN jacksync.drift.base_value IS 'what both sides had at the last sync';
COMMENT ON COLUMN jacksync.drift.local_value IS 'what the table has';
COMMENT ON COLUMN jacksync.drift.pms_value IS 'what the PMS has; NULL for the sweep, which does not ask it';
COMMENT ON COLUMN jacksync.drift.reason IS
'missed_at_pms (the feed did not tell), uncaptured (no trigger told), both_changed, waiting (to be pushed or undone), held (for a person), missing_here, missing_at_pms';
COMMENT ON COLUMN jacksync.drift.repaired IS 'whether it was given to the rules to be mended';
COMMENT ON COLUMN jacksync.drift.run_id IS 'run in which it was found';
SELECT pg_catalog.pg_extension_config_dump('jacksync.drift', '');

-- where the sweep and the comparison are; one row per stream, made when needed
CREATE TABLE jacksync.reconcile_state
(
	stream_id		integer PRIMARY KEY,
	sweep_record	bigint NOT NULL DEFAULT 0,
	sweep_key		text COLLATE "C",
	sweep_found		bigint NOT NULL DEFAULT 0,
	sweep_done_at	timestamptz,
	progress		jsonb,
	run_id			bigint,
	last_record		bigint,
	found			bigint NOT NULL DEFAULT 0,
	done_at			timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE jacksync.reconcile_state IS 'where the full comparison and the local sweep of each stream are';
COMMENT ON COLUMN jacksync.reconcile_state.stream_id IS 'number of the stream';
COMMENT ON COLUMN jacksync.reconcile_state.sweep_record IS 'the last record that the sweep looked at';
COMMENT ON COLUMN jacksync.reconcile_state.sweep_key IS 'primary key of the last row that the sweep looked at';
COMMENT ON COLUMN jacksync.reconcile_state.sweep_found IS 'what the present sweep has found';
COMMENT ON COLUMN jacksync.reconcile_state.sweep_done_at IS 'when a sweep was last complete';
COMMENT ON COLUMN jacksync.reconcile_state.progress IS 'where the walk of the present comparison is';
COMMENT ON COLUMN jacksync.reconcile_state.run_id IS 'run of the present comparison';
COMMENT ON COLUMN jacksync.reconcile_state.last_record IS 'records up to this number were there when the comparison began';
COMMENT ON COLUMN jacksync.reconcile_state.found IS 'what the present comparison has found';
COMMENT ON COLUMN jacksync.reconcile_state.done_at IS 'when a comparison was last complete';
SELECT pg_catalog.pg_extension_config_dump('jacksync.reconcile_state', '');

CREATE FUNCTION jacksync.reconcile(entity text, server name DEFAULT NULL, repair boolean DEFAULT false)
RETURNS SETOF jacksync.drift
AS 'MODULE_PATHNAME', 'jacksync_reconcile'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.reconcile(text, name, boolean) IS
'compare all records with the PMS, field by field; returns what differs, and with repair gives it to the rules';

/* called when a sweep or a comparison is complete (src/sweep.c, src/reconcile.c) */
CREATE FUNCTION jacksync.alert_drift(kind text, entity text, server name, differences bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF differences = 0 THEN
		PERFORM jacksync.alert_resolve(kind, entity, server);
	ELSIF kind = 'uncaptured' THEN
		PERFORM jacksync.alert_raise(kind, 'warning', 'Uncaptured Changes',
			format('%s changes of %s were made past the trigger (replication role, disabled trigger). They are taken up now.', differences, entity),
			entity, server, jsonb_build_object('found', differences, 'look', 'SELECT * FROM jacksync.drift'));
	ELSE
		PERFORM jacksync.alert_raise(kind, 'warning', 'Drift Found',
			format('A full comparison of %s found %s differences that the PMS had not told of. They were given to the rules.', entity, differences),
			entity, server, jsonb_build_object('found', differences, 'look', 'SELECT * FROM jacksync.drift'));
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.alert_drift(text, text, name, bigint) IS
'tells of what a sweep or comparison found (internal)';
