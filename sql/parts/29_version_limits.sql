/*
 * What this version cannot do is refused when it is configured, and not found
 * out at night.
 */
CREATE FUNCTION jacksync.stream_supported()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail	text := format('Stream of entity "%s" from server "%s".', NEW.entity, NEW.server);
	what	text := CASE
		WHEN getdatabaseencoding() NOT IN ('UTF8', 'SQL_ASCII') THEN 'a database with the encoding ' || getdatabaseencoding()
	END;
BEGIN
	IF what IS NOT NULL THEN
		RAISE EXCEPTION '% is not supported by version %', what, jacksync.library_version()
			USING ERRCODE = 'feature_not_supported', DETAIL = detail,
				HINT = 'The README lists what this version does.';
	END IF;
	IF NEW.push ?| '{update,delete}' AND NOT NEW.push ? 'read' THEN
		PERFORM jacksync.config_error('stream', 'push', 'member "read" is missing', detail,
			'Write the request that reads one record: it settles what became of a push without an answer.');
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION jacksync.stream_supported() IS
'refuses what this version cannot do (trigger)';
CREATE TRIGGER stream_supported
	BEFORE INSERT OR UPDATE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_supported();

/*
 * Records that came before their entity had a stream belong to its first
 * one; what waits may be carried by a stream that has changed; and a shorter
 * interval counts at once.
 */
CREATE FUNCTION jacksync.stream_adopts()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	IF jacksync.is_restore() THEN
		RETURN NULL;
	END IF;
	UPDATE jacksync.link l SET stream_id = NEW.stream_id
		FROM jacksync.entity e
		WHERE e.entity = NEW.entity AND l.entity_id = e.entity_id AND l.stream_id = 0
			AND e.property_column IS NULL;
	-- where a column tells the servers apart, rows that waited for theirs are looked at again
	WITH gone AS (
		DELETE FROM jacksync.link l USING jacksync.entity e
		WHERE e.entity = NEW.entity AND l.entity_id = e.entity_id AND l.stream_id = 0
			AND e.property_column IS NOT NULL AND l.state = 'n'
		RETURNING l.entity_id, l.local_id, l.local_updated_at)
	INSERT INTO jacksync.change (changed_at, entity_id, op, waiting, local_id)
		SELECT g.local_updated_at, g.entity_id, 'i', true, g.local_id FROM gone g;
	UPDATE jacksync.link SET dirty = true
		WHERE stream_id = NEW.stream_id AND waiting AND NOT dirty;
	-- a shorter interval counts at once
	UPDATE jacksync.stream_state SET next_due_at = clock_timestamp() + NEW.poll_interval
		WHERE stream_id = NEW.stream_id
			AND jacksync.live_next_due(stream_id, next_due_at) > clock_timestamp() + NEW.poll_interval;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION jacksync.stream_adopts() IS
'gives records that have no stream to a new one (trigger)';
CREATE TRIGGER stream_adopts
	AFTER INSERT OR UPDATE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_adopts();
COMMENT ON TRIGGER stream_supported ON jacksync.stream IS 'refuses what this version cannot do';
COMMENT ON TRIGGER stream_adopts ON jacksync.stream IS 'gives records that have no stream to a new one';
