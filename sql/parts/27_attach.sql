/*
 * Binding a table puts the capture triggers on it, unbinding takes them off.
 * They are made as the owner of the table would make them, but the functions
 * behind them are nobody's to use: EXECUTE is revoked from PUBLIC.
 */
CREATE FUNCTION jacksync.attach_triggers()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	IF TG_OP <> 'INSERT' THEN
		IF TG_OP = 'UPDATE' AND NEW.local_table = OLD.local_table AND
			NEW.entity_id = OLD.entity_id THEN
			RETURN NULL;
		END IF;
		-- the table may have been dropped
		IF EXISTS (SELECT FROM pg_class c WHERE c.oid = OLD.local_table) THEN
			EXECUTE format('DROP TRIGGER IF EXISTS zz_jacksync_capture ON %s', OLD.local_table);
			EXECUTE format('DROP TRIGGER IF EXISTS zz_jacksync_truncate ON %s', OLD.local_table);
		END IF;
	END IF;
	IF TG_OP = 'DELETE' THEN
		DELETE FROM jacksync.change WHERE entity_id = OLD.entity_id;
		DELETE FROM jacksync.intent i USING jacksync.link l
			WHERE i.record_id = l.record_id AND l.entity_id = OLD.entity_id;
		DELETE FROM jacksync.link WHERE entity_id = OLD.entity_id;
		DELETE FROM jacksync.field WHERE entity_id = OLD.entity_id;
		-- what waited for somebody is over
		UPDATE jacksync.manual_conflict m SET status = 'resolved', resolved_by = 'system', resolved_at = clock_timestamp(),
				reason = concat_ws(', ', m.reason, 'the entity was unbound')
			WHERE m.entity = OLD.entity AND m.status = 'pending';
		UPDATE jacksync.sync_error x SET state = 'discarded', next_attempt_at = NULL, reason = 'the entity was unbound'
			WHERE x.entity = OLD.entity AND x.state IN ('waiting', 'retry', 'dead');
		PERFORM jacksync.alert_resolve(a.kind, a.entity, a.server) FROM jacksync.alert a
			WHERE a.entity = OLD.entity AND a.resolved_at IS NULL AND a.kind <> 'event';
	ELSIF NOT jacksync.is_restore() THEN		-- a dump brings the triggers
		EXECUTE format('CREATE TRIGGER zz_jacksync_capture
			AFTER INSERT OR UPDATE OR DELETE ON %s
			FOR EACH ROW EXECUTE FUNCTION jacksync.capture(%L)',
			NEW.local_table, NEW.entity_id);
		EXECUTE format('CREATE TRIGGER zz_jacksync_truncate
			BEFORE TRUNCATE ON %s
			FOR EACH STATEMENT EXECUTE FUNCTION jacksync.refuse_truncate()',
			NEW.local_table);
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION jacksync.attach_triggers() IS
'trigger of jacksync.entity: attaches and detaches the capture triggers';

CREATE TRIGGER entity_attach
	AFTER INSERT OR UPDATE OR DELETE ON jacksync.entity
	FOR EACH ROW EXECUTE FUNCTION jacksync.attach_triggers();
COMMENT ON TRIGGER entity_attach ON jacksync.entity IS 'attaches and detaches the capture triggers';
