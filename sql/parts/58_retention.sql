/*
 * What is kept for how long, and forgetting a person.
 */
CREATE FUNCTION jacksync.purge(most integer DEFAULT 1000)
RETURNS bigint
LANGUAGE plpgsql
-- the one way past the trigger that keeps the audit log append-only
SET session_replication_role = replica
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	audit	interval := current_setting('jacksync.audit_retention')::interval;
	runs	interval := current_setting('jacksync.run_retention')::interval;
	n		bigint := 0;
	k		bigint;
BEGIN
	IF audit > interval '0' THEN
		DELETE FROM jacksync.audit_log WHERE audit_id IN (
			SELECT a.audit_id FROM jacksync.audit_log a WHERE a.logged_at < now() - audit ORDER BY a.audit_id LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
	END IF;
	IF runs > interval '0' THEN
		DELETE FROM jacksync.sync_run WHERE run_id IN (
			SELECT r.run_id FROM jacksync.sync_run r WHERE r.started < now() - runs ORDER BY r.started LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		DELETE FROM jacksync.drift WHERE drift_id IN (
			SELECT d.drift_id FROM jacksync.drift d WHERE d.found_at < now() - runs ORDER BY d.found_at LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		-- what is open stays, however old it is
		DELETE FROM jacksync.sync_error WHERE error_id IN (
			SELECT e.error_id FROM jacksync.sync_error e
			WHERE e.state IN ('resolved', 'discarded') AND e.first_seen_at < now() - runs LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		DELETE FROM jacksync.event WHERE ctid = ANY (ARRAY(
			SELECT e.ctid FROM jacksync.event e WHERE e.received_at < now() - runs AND e.pending = '{}' LIMIT most));
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		DELETE FROM jacksync.intent WHERE intent_id IN (
			SELECT i.intent_id FROM jacksync.intent i
			WHERE i.state IN ('done', 'rejected', 'superseded') AND i.finished_at < now() - runs LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		DELETE FROM jacksync.alert_delivery d WHERE d.alert_id IN (
			SELECT a.alert_id FROM jacksync.alert a WHERE a.resolved_at < now() - runs ORDER BY a.alert_id LIMIT most);
		DELETE FROM jacksync.alert WHERE alert_id IN (
			SELECT a.alert_id FROM jacksync.alert a WHERE a.resolved_at < now() - runs
				AND NOT EXISTS (SELECT FROM jacksync.alert_delivery d WHERE d.alert_id = a.alert_id)
			ORDER BY a.alert_id LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
		DELETE FROM jacksync.manual_conflict WHERE conflict_id IN (
			SELECT m.conflict_id FROM jacksync.manual_conflict m
			WHERE m.status = 'resolved' AND audit > interval '0' AND m.resolved_at < now() - audit LIMIT most);
		GET DIAGNOSTICS k = ROW_COUNT;
		n := n + k;
	END IF;
	RETURN n;
END
$$;
COMMENT ON FUNCTION jacksync.purge(integer) IS
'deletes what is older than jacksync.audit_retention and jacksync.run_retention, at most so many rows of a kind; returns how many (called by the worker) (internal)';

CREATE FUNCTION jacksync.forget(entity text, external_id text)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET session_replication_role = replica
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	ids		bigint[];
	locals	text[];
BEGIN
	SELECT array_agg(l.record_id), array_agg(l.local_id) INTO ids, locals
		FROM jacksync.link l JOIN jacksync.entity e ON e.entity_id = l.entity_id
		WHERE e.entity = forget.entity AND l.external_id = forget.external_id;
	IF ids IS NULL THEN
		RAISE EXCEPTION 'entity "%" has no record "%"', entity, external_id
			USING ERRCODE = 'undefined_object', HINT = 'SELECT external_id FROM jacksync.record lists the records.';
	END IF;
	-- the tombstone: whatever the PMS sends of this record from now on is not taken
	UPDATE jacksync.link l SET state = 'f', snapshot = NULL, local_base = NULL, local_times = NULL, decided = NULL,
			version = NULL, hash = NULL, dirty = false, waiting = false, conflict = false, failed = false,
			must_pull = false, intent_id = NULL, local_id = NULL
		WHERE l.record_id = ANY (ids);
	DELETE FROM jacksync.change c USING jacksync.entity e
		WHERE e.entity = forget.entity AND c.entity_id = e.entity_id AND c.local_id = ANY (locals);
	DELETE FROM jacksync.intent i WHERE i.record_id = ANY (ids);
	DELETE FROM jacksync.push_state p WHERE p.record_id = ANY (ids);
	DELETE FROM jacksync.manual_conflict m WHERE m.record_id = ANY (ids);
	DELETE FROM jacksync.sync_error x WHERE x.entity = forget.entity
		AND (x.external_id = forget.external_id OR x.local_id = ANY (locals));
	DELETE FROM jacksync.drift d WHERE d.entity = forget.entity
		AND (d.external_id = forget.external_id OR d.local_id = ANY (locals));
	DELETE FROM jacksync.detail d USING jacksync.stream s
		WHERE s.stream_id = d.stream_id AND s.entity = forget.entity AND d.external_id = forget.external_id;
	DELETE FROM jacksync.event v USING jacksync.stream s
		WHERE s.entity = forget.entity AND v.server = s.server
			AND jsonb_path_exists(v.payload, '$.** ? (@ == $id)', jsonb_build_object('id', forget.external_id));
	DELETE FROM jacksync.pending_delete d USING jacksync.stream s
		WHERE s.stream_id = d.stream_id AND s.entity = forget.entity AND d.external_id = forget.external_id;
	UPDATE jacksync.alert a SET message = 'forgotten', context = '{}', resolved_at = coalesce(a.resolved_at, now())
		WHERE a.entity = forget.entity AND a.kind = ANY (SELECT 'conflict:' || i FROM unnest(ids) AS i);
	UPDATE jacksync.audit_log a SET before_state = NULL, after_state = NULL, conflict_details = NULL
		WHERE a.entity = forget.entity AND (a.external_id = forget.external_id OR a.local_id = ANY (locals));
	INSERT INTO jacksync.audit_log (operation, entity, external_id, after_state, resolved_by)
		VALUES ('manual_override', entity, external_id, '{"forgotten": true}', jacksync.acting_role());
	RETURN cardinality(ids);
END
$$;
COMMENT ON FUNCTION jacksync.forget(text, text) IS
'erase what jacksync keeps of a person''s record: snapshot, audited values, conflicts, errors; the row itself is yours to delete, and does not come back';
