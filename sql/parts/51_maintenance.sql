/*
 * Windows in which a PMS is known to be away, such as its night audit: it is
 * not polled then, and nobody is alarmed.  Local changes wait; data that gets
 * old meanwhile is old all the same, and guards say so.
 */
CREATE TABLE jacksync.maintenance_window
(
	window_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	server		name NOT NULL,
	starts		time NOT NULL,
	ends		time NOT NULL,
	zone		text NOT NULL DEFAULT 'UTC',
	weekdays	integer[] NOT NULL DEFAULT '{1,2,3,4,5,6,7}',
	reason		text,
	CHECK (starts <> ends),
	UNIQUE (server, starts, ends)
);
COMMENT ON TABLE jacksync.maintenance_window IS
'daily windows in which a server is neither polled nor a cause of alerts (night audit)';
COMMENT ON COLUMN jacksync.maintenance_window.window_id IS 'number of the window';
COMMENT ON COLUMN jacksync.maintenance_window.server IS 'the foreign server';
COMMENT ON COLUMN jacksync.maintenance_window.starts IS 'beginning, in the time of the zone';
COMMENT ON COLUMN jacksync.maintenance_window.ends IS 'end; before starts: on the next day';
COMMENT ON COLUMN jacksync.maintenance_window.zone IS 'time zone of the hotel, such as Europe/Vienna';
COMMENT ON COLUMN jacksync.maintenance_window.weekdays IS 'days on which it starts: 1 is Monday, 7 is Sunday';
COMMENT ON COLUMN jacksync.maintenance_window.reason IS 'why, for the next DBA';
SELECT pg_catalog.pg_extension_config_dump('jacksync.maintenance_window', '');

CREATE FUNCTION jacksync.maintenance_window_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Window of server "%s".', NEW.server);
BEGIN
	PERFORM jacksync.check_server('maintenance_window', 'server', NEW.server, detail);
	IF NOT EXISTS (SELECT FROM pg_timezone_names z WHERE lower(z.name) = lower(NEW.zone)) THEN
		PERFORM jacksync.config_error('maintenance_window', 'zone', format('"%s" is no time zone', left(NEW.zone, 100)), detail,
			'Write a name such as Europe/Vienna: SELECT name FROM pg_timezone_names.');
	END IF;
	IF NEW.starts = NEW.ends THEN
		PERFORM jacksync.config_error('maintenance_window', 'ends', 'the window is empty', detail,
			'Write an end that differs from the start; an end before the start is on the next day.');
	END IF;
	IF cardinality(NEW.weekdays) = 0 OR NOT coalesce(NEW.weekdays <@ '{1,2,3,4,5,6,7}'::integer[], false) THEN
		PERFORM jacksync.config_error('maintenance_window', 'weekdays', format('bad days "%s"', NEW.weekdays), detail,
			'Write numbers from 1 (Monday) to 7 (Sunday).');
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.maintenance_window_check() IS 'checks a window (trigger)';
CREATE TRIGGER maintenance_window_check
	BEFORE INSERT OR UPDATE ON jacksync.maintenance_window
	FOR EACH ROW EXECUTE FUNCTION jacksync.maintenance_window_check();
COMMENT ON TRIGGER maintenance_window_check ON jacksync.maintenance_window IS 'checks a window';
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.maintenance_window
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
COMMENT ON TRIGGER config_changed ON jacksync.maintenance_window IS 'lets the worker look again';

/* local time counts: a window that falls into the hour that DST skips is not there that day */
CREATE FUNCTION jacksync.in_maintenance(server name, at timestamptz DEFAULT NULL)
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM jacksync.maintenance_window w,
			LATERAL (SELECT coalesce(at, clock_timestamp()) AT TIME ZONE w.zone) AS l (now)
		WHERE w.server = in_maintenance.server
			AND CASE WHEN w.starts < w.ends
				THEN l.now::time >= w.starts AND l.now::time < w.ends
					AND extract(isodow FROM l.now)::integer = ANY (w.weekdays)
				ELSE (l.now::time >= w.starts AND extract(isodow FROM l.now)::integer = ANY (w.weekdays))
					OR (l.now::time < w.ends
						AND extract(isodow FROM l.now - interval '1 day')::integer = ANY (w.weekdays))
				END)
$$;
COMMENT ON FUNCTION jacksync.in_maintenance(name, timestamptz) IS
'whether a server is in a maintenance window, now or at a time';
