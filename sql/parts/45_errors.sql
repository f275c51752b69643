/*
 * What operators do with records that failed.
 */
CREATE FUNCTION jacksync.requeue(error_id bigint)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	e	jacksync.sync_error;
BEGIN
	UPDATE jacksync.sync_error x SET state = 'retry', attempts = 0, next_attempt_at = now()
		WHERE x.error_id = requeue.error_id AND x.state IN ('waiting', 'retry', 'dead')
		RETURNING * INTO e;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no open error %', error_id
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT error_id, state, error FROM jacksync.sync_error lists the errors.';
	END IF;
	IF e.direction = 'push' THEN
		WITH l AS (
			UPDATE jacksync.link l SET dirty = true, failed = false, push_failures = 0, next_push_at = NULL
				FROM jacksync.entity n
				WHERE n.entity = e.entity AND l.entity_id = n.entity_id
					AND (l.local_id = e.local_id OR l.external_id = e.external_id)
				RETURNING l.record_id)
		DELETE FROM jacksync.push_state p USING l WHERE p.record_id = l.record_id;
	END IF;
	INSERT INTO jacksync.audit_log (operation, entity, server, local_id, external_id, after_state, resolved_by)
		VALUES ('manual_override', e.entity, e.server, e.local_id, e.external_id,
			jsonb_build_object('requeued', e.error_id), jacksync.acting_role());
	PERFORM jacksync.wake_worker();
END
$$;
COMMENT ON FUNCTION jacksync.requeue(bigint) IS
'try a record that failed again at the next run';

CREATE FUNCTION jacksync.discard(error_id bigint, reason text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	e	jacksync.sync_error;
BEGIN
	IF coalesce(reason, '') = '' THEN
		RAISE EXCEPTION 'discard() needs a reason'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It is kept in the audit log.';
	END IF;
	UPDATE jacksync.sync_error x SET state = 'discarded', reason = discard.reason, next_attempt_at = NULL
		WHERE x.error_id = discard.error_id AND x.state IN ('waiting', 'retry', 'dead')
		RETURNING * INTO e;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no open error %', error_id
			USING ERRCODE = 'undefined_object',
				HINT = 'SELECT error_id, state, error FROM jacksync.sync_error lists the errors.';
	END IF;
	UPDATE jacksync.link l SET failed = false, push_failures = 0
		FROM jacksync.entity n
		WHERE n.entity = e.entity AND l.entity_id = n.entity_id
			AND (l.external_id = e.external_id OR l.local_id = e.local_id);
	INSERT INTO jacksync.audit_log (operation, entity, server, local_id, external_id, before_state, after_state, resolved_by)
		VALUES ('manual_override', e.entity, e.server, e.local_id, e.external_id, e.payload,
			jsonb_build_object('discarded', e.error_id, 'reason', reason), jacksync.acting_role());
END
$$;
COMMENT ON FUNCTION jacksync.discard(bigint, text) IS
'give a record that failed up, for a reason that is audited';
