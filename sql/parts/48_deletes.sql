/*
 * Deletes of the PMS that are not carried out yet (src/deletes.c), and what
 * people do with those that are too many.
 */
CREATE TABLE jacksync.pending_delete
(
	stream_id	integer NOT NULL,
	external_id	text COLLATE "C" NOT NULL,
	payload		jsonb,
	tick		bigint NOT NULL,
	seen_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	state		text NOT NULL DEFAULT 'gathered' CHECK (state IN ('absent', 'gathered', 'held', 'released', 'rejected')),
	absences	integer NOT NULL DEFAULT 0,
	PRIMARY KEY (stream_id, external_id)
);
COMMENT ON TABLE jacksync.pending_delete IS
'records that the PMS says are deleted and whose rows are still here: see release_deletes() and reject_deletes()';
COMMENT ON COLUMN jacksync.pending_delete.stream_id IS 'number of the stream';
COMMENT ON COLUMN jacksync.pending_delete.external_id IS 'id of the record at the PMS';
COMMENT ON COLUMN jacksync.pending_delete.payload IS 'the record as the PMS sent it; NULL: it was missing from a complete list';
COMMENT ON COLUMN jacksync.pending_delete.tick IS 'when it was requested, in ticks';
COMMENT ON COLUMN jacksync.pending_delete.seen_at IS 'when it was first seen';
COMMENT ON COLUMN jacksync.pending_delete.state IS 'absent (from a complete list, not sure yet), gathered (the pull goes on), held for a person, released or rejected by one';
COMMENT ON COLUMN jacksync.pending_delete.absences IS 'complete lists in a row from which it was missing; 0: the PMS says that it is deleted';
SELECT pg_catalog.pg_extension_config_dump('jacksync.pending_delete', '');

CREATE FUNCTION jacksync.weigh_deletes(stream integer)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n		bigint;
	total	bigint;
	s		record;
BEGIN
	SELECT e.entity, t.server, coalesce((e.delete_guard ->> 'count')::numeric, 20) AS most,
			coalesce((e.delete_guard ->> 'percent')::numeric, 2) AS percent
		INTO s
		FROM jacksync.stream t JOIN jacksync.entity e ON e.entity = t.entity WHERE t.stream_id = stream;
	SELECT count(*) INTO n FROM jacksync.pending_delete d
		WHERE d.stream_id = stream AND d.state IN ('absent', 'gathered', 'held');
	IF n <= s.most THEN
		RETURN false;
	END IF;
	SELECT count(*) INTO total FROM jacksync.link l
		WHERE l.stream_id = stream AND l.state = 'l' AND l.local_id IS NOT NULL;
	IF n * 100 <= s.percent * total THEN
		RETURN false;
	END IF;
	UPDATE jacksync.pending_delete d SET state = 'held' WHERE d.stream_id = stream AND d.state IN ('absent', 'gathered');
	PERFORM jacksync.alert_raise('mass_delete', 'critical', 'Mass Delete Held',
		format('The PMS says that %s of %s records of %s are deleted. Nothing was deleted here: a person must decide.', n, total, s.entity),
		s.entity, s.server, jsonb_build_object('records', n, 'of', total, 'release',
			format('SELECT jacksync.release_deletes(%L, %L);', s.entity, s.server), 'reject',
			format('SELECT jacksync.reject_deletes(%L, %L);', s.entity, s.server)));
	RETURN true;
END
$$;
COMMENT ON FUNCTION jacksync.weigh_deletes(integer) IS
'holds the deletes of a pull if they are more than the delete_guard allows (internal)';

CREATE FUNCTION jacksync.decide_deletes(entity text, server name, new_state text)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	n	bigint;
	s	record;
BEGIN
	UPDATE jacksync.pending_delete d SET state = new_state
		FROM jacksync.stream t
		WHERE t.stream_id = d.stream_id AND d.state = 'held' AND t.entity = decide_deletes.entity
			AND (decide_deletes.server IS NULL OR t.server = decide_deletes.server);
	GET DIAGNOSTICS n = ROW_COUNT;
	IF n = 0 THEN
		RAISE EXCEPTION 'no deletes of entity "%" are held', entity
			USING ERRCODE = 'undefined_object', HINT = 'SELECT * FROM jacksync.held_delete lists them.';
	END IF;
	FOR s IN SELECT t.server FROM jacksync.stream t
		WHERE t.entity = decide_deletes.entity AND (decide_deletes.server IS NULL OR t.server = decide_deletes.server)
	LOOP
		PERFORM jacksync.alert_resolve('mass_delete', entity, s.server);
	END LOOP;
	INSERT INTO jacksync.audit_log (operation, entity, server, after_state, resolved_by)
		VALUES ('manual_override', entity, server,
			jsonb_build_object('deletes', new_state, 'records', n), jacksync.acting_role());
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.decide_deletes(text, name, text) IS
'what release_deletes() and reject_deletes() share (internal)';

CREATE FUNCTION jacksync.release_deletes(entity text, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	n	bigint := jacksync.decide_deletes(entity, server, 'released');
BEGIN
	PERFORM jacksync.sync_now(entity, server);
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.release_deletes(text, name) IS
'deletes that were held are right: the next sync carries them out; returns how many';

CREATE FUNCTION jacksync.reject_deletes(entity text, server name DEFAULT NULL)
RETURNS bigint
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$ SELECT jacksync.decide_deletes(entity, server, 'rejected') $$;
COMMENT ON FUNCTION jacksync.reject_deletes(text, name) IS
'deletes that were held are wrong: the rows stay, until the PMS sends the records again; returns how many';
