/*
 * Alerts: one open row per kind, entity and server.  These functions are
 * called in the transaction that records what they tell of.
 */
CREATE FUNCTION jacksync.clean_text(value text, most integer DEFAULT 500)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT left(regexp_replace(value, '[[:cntrl:]]+', ' ', 'g'), most) $$;
COMMENT ON FUNCTION jacksync.clean_text(text, integer) IS
'a text from outside without control characters, and not too long';

CREATE TABLE jacksync.alert_delivery
(
	alert_id	bigint NOT NULL REFERENCES jacksync.alert ON DELETE CASCADE,
	channel		text NOT NULL REFERENCES jacksync.alert_channel ON DELETE CASCADE ON UPDATE CASCADE,
	state		text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
	attempts	integer NOT NULL DEFAULT 0,
	next_attempt_at timestamptz,
	last_error	text,
	PRIMARY KEY (alert_id, channel)
);
COMMENT ON TABLE jacksync.alert_delivery IS 'outbox of alerts: what is to go through which channel';
COMMENT ON COLUMN jacksync.alert_delivery.alert_id IS 'the alert';
COMMENT ON COLUMN jacksync.alert_delivery.channel IS 'the channel';
COMMENT ON COLUMN jacksync.alert_delivery.state IS 'pending, delivered or dead';
COMMENT ON COLUMN jacksync.alert_delivery.attempts IS 'how often it was tried';
COMMENT ON COLUMN jacksync.alert_delivery.next_attempt_at IS 'when it is tried again';
COMMENT ON COLUMN jacksync.alert_delivery.last_error IS 'why the last try failed';

CREATE FUNCTION jacksync.alert_publish(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a	jacksync.alert;
BEGIN
	SELECT * INTO a FROM jacksync.alert WHERE alert_id = id;
	INSERT INTO jacksync.alert_delivery (alert_id, channel, state, next_attempt_at)
		SELECT id, c.channel, CASE c.type WHEN 'dashboard' THEN 'delivered' ELSE 'pending' END, now()
		FROM jacksync.alert_channel c
		WHERE c.enabled AND array_position('{info,warning,critical}', c.min_level)
			<= array_position('{info,warning,critical}', a.level)
		ON CONFLICT (alert_id, channel) DO UPDATE
			SET state = excluded.state, attempts = 0, next_attempt_at = excluded.next_attempt_at;
	PERFORM pg_notify('jacksync_alert', jsonb_build_object(
		'alert_id', a.alert_id, 'level', a.level, 'title', left(a.title, 200),
		'message', left(a.message, 1000), 'entity', a.entity, 'server', a.server,
		'raised_at', a.raised_at, 'resolved_at', a.resolved_at)::text);
END
$$;
COMMENT ON FUNCTION jacksync.alert_publish(bigint) IS
'puts an alert into the outbox and notifies listeners (internal)';

CREATE FUNCTION jacksync.alert_raise(kind text, level text, title text, message text,
	entity text, server name, context jsonb DEFAULT '{}')
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	open	jacksync.alert;
	id		bigint;
BEGIN
	SELECT * INTO open FROM jacksync.alert a
		WHERE a.kind = alert_raise.kind AND a.kind <> 'event'
			AND a.entity IS NOT DISTINCT FROM alert_raise.entity
			AND a.server IS NOT DISTINCT FROM alert_raise.server AND a.resolved_at IS NULL
		FOR UPDATE;
	IF FOUND AND open.level = alert_raise.level THEN
		UPDATE jacksync.alert SET count = count + 1 WHERE alert_id = open.alert_id;
		RETURN open.alert_id;
	END IF;
	IF FOUND THEN
		UPDATE jacksync.alert a SET level = alert_raise.level, title = alert_raise.title,
				message = alert_raise.message, context = alert_raise.context,
				raised_at = clock_timestamp(), count = count + 1
			WHERE alert_id = open.alert_id;
		id := open.alert_id;
	ELSE
		INSERT INTO jacksync.alert (kind, level, title, message, entity, server, context)
			VALUES (kind, level, title, message, entity, server, context)
			RETURNING alert_id INTO id;
	END IF;
	PERFORM jacksync.alert_publish(id);
	RETURN id;
END
$$;
COMMENT ON FUNCTION jacksync.alert_raise(text, text, text, text, text, name, jsonb) IS
'raises an alert, or raises the level of the one that lasts (internal)';

CREATE FUNCTION jacksync.alert_resolve(kind text, entity text, server name)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id	bigint;
BEGIN
	UPDATE jacksync.alert a SET resolved_at = clock_timestamp()
		WHERE a.kind = alert_resolve.kind AND a.resolved_at IS NULL
			AND a.entity IS NOT DISTINCT FROM alert_resolve.entity
			AND a.server IS NOT DISTINCT FROM alert_resolve.server
		RETURNING a.alert_id INTO id;
	IF id IS NULL THEN
		RETURN false;
	END IF;
	PERFORM jacksync.alert_publish(id);
	RETURN true;
END
$$;
COMMENT ON FUNCTION jacksync.alert_resolve(text, text, name) IS
'the cause of an alert is over (internal)';

CREATE FUNCTION jacksync.alert_run(entity text, server name, failures integer, failures_before integer, error text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	warn	numeric := 3;
	crit	numeric := 5;
	context	jsonb := jsonb_build_object('failures', failures, 'error', jacksync.clean_text(error));
BEGIN
	SELECT t.warning, t.critical INTO warn, crit
		FROM jacksync.alert_threshold t WHERE t.metric = 'consecutive_failures';
	IF failures >= crit THEN
		PERFORM jacksync.alert_raise('consecutive_failures', 'critical', 'PMS Sync Critical Failure',
			format('PMS sync has failed %s consecutive times. Immediate attention required.', failures),
			entity, server, context);
	ELSIF failures >= warn THEN
		PERFORM jacksync.alert_raise('consecutive_failures', 'warning', 'PMS Sync Failures',
			format('PMS sync has failed %s times. Investigating.', failures),
			entity, server, context);
	ELSIF failures = 0 AND failures_before >= warn THEN
		PERFORM jacksync.alert_resolve('consecutive_failures', entity, server);
		PERFORM jacksync.alert_raise('event', 'info', 'PMS Sync Recovered',
			format('PMS sync has recovered after %s failures.', failures_before),
			entity, server, jsonb_build_object('failures', failures_before));
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.alert_run(text, name, integer, integer, text) IS
'what the end of a run means for alerts (internal)';

CREATE FUNCTION jacksync.alert_stale()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r	record;
BEGIN
	FOR r IN
		SELECT s.entity, s.server, f.status, f.warning, f.stale_age, t.initial_done
		FROM jacksync.stream s JOIN jacksync.stream_state t USING (stream_id)
			JOIN jacksync.entity e ON e.entity = s.entity
			CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL, s.server) f
		WHERE s.enabled AND e.enabled AND NOT t.paused
	LOOP
		IF r.status = 'critical' AND r.initial_done THEN
			PERFORM jacksync.alert_raise('stale_data', 'critical', 'PMS Data Critically Stale',
				format('%s: %s', r.entity, r.warning), r.entity, r.server,
				jsonb_build_object('age_seconds', round(extract(epoch FROM r.stale_age))));
		ELSIF r.status = 'fresh' THEN
			PERFORM jacksync.alert_resolve('stale_data', r.entity, r.server);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.alert_stale() IS
'raises and resolves alerts about stale data (called by the worker)';

CREATE FUNCTION jacksync.alert_conflict(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c	jacksync.manual_conflict;
BEGIN
	SELECT * INTO c FROM jacksync.manual_conflict WHERE conflict_id = id;
	PERFORM jacksync.alert_raise('conflict:' || c.record_id, 'warning', 'Data Conflict',
		format('Data conflict detected for %s %s', c.entity,
			jacksync.clean_text(coalesce(c.external_id, c.local_id), 200)),
		c.entity, c.server,
		jsonb_build_object('priority', 'high', 'conflict_id', c.conflict_id, 'field', c.field,
			'external_id', c.external_id, 'local_id', c.local_id));
	PERFORM pg_notify('jacksync_conflict', jsonb_build_object(
		'conflict_id', c.conflict_id, 'entity', c.entity, 'server', c.server,
		'external_id', left(c.external_id, 500), 'local_id', left(c.local_id, 500),
		'field', left(c.field, 200))::text);
END
$$;
COMMENT ON FUNCTION jacksync.alert_conflict(bigint) IS
'tells people of a new conflict (internal)';

CREATE FUNCTION jacksync.alert_conflict_closed(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c	jacksync.manual_conflict;
BEGIN
	SELECT * INTO c FROM jacksync.manual_conflict WHERE conflict_id = id;
	IF NOT EXISTS (SELECT FROM jacksync.manual_conflict m
			WHERE m.record_id = c.record_id AND m.status = 'pending' AND m.conflict_id <> id) THEN
		PERFORM jacksync.alert_resolve('conflict:' || c.record_id, c.entity, c.server);
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.alert_conflict_closed(bigint) IS
'the last conflict of a record is decided (internal)';
