/*
 * Alerts: one open row per kind, entity and server.  These functions are
 * called in the transaction that records what they tell of; what goes out
 * waits in an outbox, jacksync.alert_delivery.
 */

/* no control characters (C0, C1), line separators or marks that turn the direction of text */
CREATE FUNCTION jacksync.clean_text(value text, most integer DEFAULT 500)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT left(btrim(regexp_replace(value COLLATE "C",
		'[\u0001-\u0020\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]+', ' ', 'g')), most)
$$;
COMMENT ON FUNCTION jacksync.clean_text(text, integer) IS
'a text from outside as one line without control characters, and not too long (internal)';

CREATE TABLE jacksync.alert_delivery
(
	alert_id	bigint NOT NULL REFERENCES jacksync.alert ON DELETE CASCADE,
	channel		text NOT NULL REFERENCES jacksync.alert_channel ON DELETE CASCADE ON UPDATE CASCADE,
	reason		text NOT NULL DEFAULT 'raised' CHECK (reason IN ('raised', 'repeated', 'resolved')),
	state		text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
	attempts	integer NOT NULL DEFAULT 0,
	next_attempt_at timestamptz DEFAULT pg_catalog.clock_timestamp(),
	delivered_at timestamptz,
	last_error	text,
	PRIMARY KEY (alert_id, channel)
);
CREATE INDEX alert_delivery_pending ON jacksync.alert_delivery (next_attempt_at)
	WHERE state = 'pending';
COMMENT ON TABLE jacksync.alert_delivery IS 'outbox of alerts: what is to go through which channel';
COMMENT ON COLUMN jacksync.alert_delivery.alert_id IS 'the alert';
COMMENT ON COLUMN jacksync.alert_delivery.channel IS 'the channel';
COMMENT ON COLUMN jacksync.alert_delivery.reason IS 'why it is sent: raised (or its level rose), repeated while it lasts, or resolved';
COMMENT ON COLUMN jacksync.alert_delivery.state IS 'pending, delivered or dead';
COMMENT ON COLUMN jacksync.alert_delivery.attempts IS 'how often it was tried';
COMMENT ON COLUMN jacksync.alert_delivery.next_attempt_at IS 'when it is tried again';
COMMENT ON COLUMN jacksync.alert_delivery.delivered_at IS 'when the channel last took it';
COMMENT ON COLUMN jacksync.alert_delivery.last_error IS 'why the last try failed';
SELECT pg_catalog.pg_extension_config_dump('jacksync.alert_delivery', '');
-- its rows are there after CREATE EXTENSION: alert_threshold_check() updates them
SELECT pg_catalog.pg_extension_config_dump('jacksync.alert_threshold', '');

CREATE FUNCTION jacksync.alert_level(level text)
RETURNS integer
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT array_position('{info,warning,critical}', level) $$;
COMMENT ON FUNCTION jacksync.alert_level(text) IS
'levels in order (internal)';

CREATE FUNCTION jacksync.alert_notify(id bigint)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT pg_notify('jacksync_alert', jsonb_build_object(
		'alert_id', a.alert_id, 'level', a.level, 'title', left(a.title, 200),
		'message', left(a.message, 1000), 'entity', a.entity, 'server', a.server,
		'raised_at', a.raised_at, 'resolved_at', a.resolved_at)::text)
	FROM jacksync.alert a WHERE a.alert_id = id
$$;
COMMENT ON FUNCTION jacksync.alert_notify(bigint) IS
'notifies the listeners of an alert (internal)';

/*
 * A new alert, or one whose level rose, goes to every channel of that level.
 * One that is over goes to the channels that were told of it, or are to be.
 */
CREATE FUNCTION jacksync.alert_publish(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a	jacksync.alert;
BEGIN
	SELECT * INTO a FROM jacksync.alert WHERE alert_id = id;
	IF a.resolved_at IS NULL OR a.kind = 'event' THEN
		INSERT INTO jacksync.alert_delivery AS d (alert_id, channel, state, delivered_at)
			SELECT id, c.channel, s.state,
				CASE s.state WHEN 'delivered' THEN clock_timestamp() END
			FROM jacksync.alert_channel c,
				LATERAL (SELECT CASE c.type WHEN 'dashboard' THEN 'delivered' ELSE 'pending' END) AS s (state)
			WHERE c.enabled AND jacksync.alert_level(c.min_level) <= jacksync.alert_level(a.level)
			ON CONFLICT ON CONSTRAINT alert_delivery_pkey DO UPDATE
				SET state = excluded.state, reason = 'raised', attempts = 0,
					next_attempt_at = excluded.next_attempt_at,
					delivered_at = coalesce(excluded.delivered_at, d.delivered_at);
	ELSE
		UPDATE jacksync.alert_delivery d
			SET reason = 'resolved', attempts = 0, next_attempt_at = clock_timestamp(),
				state = CASE c.type WHEN 'dashboard' THEN 'delivered' ELSE 'pending' END
			FROM jacksync.alert_channel c
			WHERE d.alert_id = id AND c.channel = d.channel AND d.state <> 'dead';
	END IF;
	PERFORM jacksync.alert_notify(id);
END
$$;
COMMENT ON FUNCTION jacksync.alert_publish(bigint) IS
'puts an alert into the outbox and notifies listeners (internal)';

/*
 * While an alert lasts its row is counted up and its level only rises here;
 * people are told when it does, not once per retry.
 */
CREATE FUNCTION jacksync.alert_raise(kind text, level text, title text, message text,
	entity text, server name, context jsonb DEFAULT '{}', publish boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	open	jacksync.alert;
	id		bigint;
BEGIN
	IF kind <> 'event' THEN
		SELECT * INTO open FROM jacksync.alert a
			WHERE a.kind = alert_raise.kind AND a.kind <> 'event' AND a.resolved_at IS NULL
				AND a.entity IS NOT DISTINCT FROM alert_raise.entity
				AND a.server IS NOT DISTINCT FROM alert_raise.server
			FOR UPDATE;
		IF FOUND THEN
			id := open.alert_id;
			IF jacksync.alert_level(level) <= jacksync.alert_level(open.level) THEN
				-- an age is told as it is now, but no row is written for the same words
				UPDATE jacksync.alert a SET count = a.count + 1, context = alert_raise.context,
						message = CASE WHEN a.kind = 'stale_data' AND a.level = alert_raise.level
							THEN alert_raise.message ELSE a.message END
					WHERE a.alert_id = id AND (a.kind <> 'stale_data' OR a.message <> alert_raise.message);
				RETURN id;
			END IF;
			UPDATE jacksync.alert a SET level = alert_raise.level, title = alert_raise.title,
					message = alert_raise.message, context = alert_raise.context,
					raised_at = clock_timestamp(), count = a.count + 1
				WHERE a.alert_id = id;
		END IF;
	END IF;
	IF id IS NULL THEN
		INSERT INTO jacksync.alert (kind, level, title, message, entity, server, context, resolved_at)
			VALUES (kind, level, title, message, entity, server, context,
				CASE kind WHEN 'event' THEN clock_timestamp() END)
			RETURNING alert_id INTO id;
	END IF;
	IF publish THEN
		PERFORM jacksync.alert_publish(id);
	END IF;
	RETURN id;
END
$$;
COMMENT ON FUNCTION jacksync.alert_raise(text, text, text, text, text, name, jsonb, boolean) IS
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
		WHERE a.kind = alert_resolve.kind AND a.kind <> 'event' AND a.resolved_at IS NULL
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

/*
 * Failures below the warning are noted (level info) and nobody is told.  The
 * message that a failure is over is an alert of its own; it goes to whom it
 * concerns by its level, and to whom was told of the failures.
 */
CREATE FUNCTION jacksync.alert_run(entity text, server name, failures integer, failures_before integer, error text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	warn	numeric;
	crit	numeric;
	context	jsonb := jsonb_strip_nulls(jsonb_build_object('failures', failures, 'error', jacksync.clean_text(error)));
	old		bigint;
	id		bigint;
BEGIN
	IF failures > 0 AND jacksync.in_maintenance(server) THEN
		RETURN;
	END IF;
	SELECT t.warning, t.critical INTO warn, crit
		FROM jacksync.alert_threshold t WHERE t.metric = 'consecutive_failures';
	warn := coalesce(warn, 3);
	crit := coalesce(crit, 5);
	IF failures >= crit THEN
		PERFORM jacksync.alert_raise('consecutive_failures', 'critical', 'PMS Sync Critical Failure',
			format('PMS sync has failed %s consecutive times. Immediate attention required.', failures),
			entity, server, context);
	ELSIF failures >= warn THEN
		PERFORM jacksync.alert_raise('consecutive_failures', 'warning', 'PMS Sync Failures',
			format('PMS sync has failed %s times. Investigating.', failures),
			entity, server, context);
	ELSIF failures > 0 THEN
		PERFORM jacksync.alert_raise('consecutive_failures', 'info', 'PMS Sync Failure',
			format('PMS sync has failed %s. Retrying.',
				CASE failures WHEN 1 THEN 'once' ELSE failures || ' times' END),
			entity, server, context, false);
	ELSIF failures_before > 0 THEN
		UPDATE jacksync.alert a SET resolved_at = clock_timestamp()
			WHERE a.kind = 'consecutive_failures' AND a.resolved_at IS NULL
				AND a.entity IS NOT DISTINCT FROM alert_run.entity
				AND a.server IS NOT DISTINCT FROM alert_run.server
			RETURNING a.alert_id INTO old;
		-- those who were told must hear of the end, whatever the thresholds are by now
		IF failures_before >= warn OR EXISTS (SELECT FROM jacksync.alert_delivery d WHERE d.alert_id = old) THEN
			PERFORM jacksync.alert_notify(old);
			id := jacksync.alert_raise('event', 'info', 'PMS Sync Recovered',
				format('PMS sync has recovered after %s failure%s.', failures_before,
					CASE failures_before WHEN 1 THEN '' ELSE 's' END),
				entity, server, jsonb_build_object('failures', failures_before, 'resolves', old));
			INSERT INTO jacksync.alert_delivery (alert_id, channel, state, delivered_at)
				SELECT id, d.channel, CASE c.type WHEN 'dashboard' THEN 'delivered' ELSE 'pending' END,
					CASE c.type WHEN 'dashboard' THEN clock_timestamp() END
				FROM jacksync.alert_delivery d JOIN jacksync.alert_channel c USING (channel)
				WHERE d.alert_id = old AND c.enabled
				ON CONFLICT DO NOTHING;
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.alert_run(text, name, integer, integer, text) IS
'what the end of a run means for alerts (internal)';

/*
 * Called by the worker.  The initial load is no staleness: as long as it goes
 * on without failures in a row, nobody is alarmed.
 */
CREATE FUNCTION jacksync.alert_stale()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r			record;
	stale_warn	numeric;
	fail_warn	numeric;
BEGIN
	SELECT t.warning INTO stale_warn FROM jacksync.alert_threshold t WHERE t.metric = 'stale_data';
	SELECT t.warning INTO fail_warn FROM jacksync.alert_threshold t WHERE t.metric = 'consecutive_failures';
	FOR r IN
		SELECT s.entity, s.server, f.status, f.warning, f.last_sync_at, t.failure_count,
			extract(epoch FROM f.stale_age) AS age
		FROM jacksync.stream s JOIN jacksync.stream_state t USING (stream_id)
			JOIN jacksync.entity e ON e.entity = s.entity
			CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL, s.server) f
		WHERE s.enabled AND e.enabled AND NOT jacksync.in_maintenance(s.server)
	LOOP
		IF r.status = 'critical' THEN
			IF r.last_sync_at IS NOT NULL OR r.failure_count >= coalesce(fail_warn, 3) THEN
				PERFORM jacksync.alert_raise('stale_data', 'critical', 'PMS Data Critically Stale',
					r.warning, r.entity, r.server,
					jsonb_strip_nulls(jsonb_build_object('age_seconds', round(r.age))));
			END IF;
		ELSIF r.status = 'stale' THEN
			IF r.age > coalesce(stale_warn, 300) THEN
				PERFORM jacksync.alert_raise('stale_data', 'warning', 'PMS Data Stale',
					r.warning, r.entity, r.server,
					jsonb_build_object('age_seconds', round(r.age)));
			END IF;
		ELSE
			PERFORM jacksync.alert_resolve('stale_data', r.entity, r.server);
		END IF;
	END LOOP;

	-- what is no longer synchronised is no longer late
	FOR r IN
		SELECT a.kind, a.entity, a.server FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.kind IN ('stale_data', 'consecutive_failures')
			AND NOT EXISTS (
				SELECT FROM jacksync.stream s JOIN jacksync.entity e ON e.entity = s.entity
				WHERE s.entity = a.entity AND s.server = a.server AND s.enabled AND e.enabled)
	LOOP
		PERFORM jacksync.alert_resolve(r.kind, r.entity, r.server);
	END LOOP;
	FOR r IN
		SELECT a.entity, a.server FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.kind = 'many_conflicts'
			AND NOT EXISTS (
				SELECT FROM jacksync.manual_conflict m
				WHERE m.entity = a.entity AND m.server IS NOT DISTINCT FROM a.server AND m.status = 'pending')
	LOOP
		PERFORM jacksync.alert_resolve('many_conflicts', r.entity, r.server);
	END LOOP;
	PERFORM jacksync.alert_dead_letters();
	PERFORM jacksync.alert_repeat();
	PERFORM jacksync.forgive_changed_servers();
END
$$;
COMMENT ON FUNCTION jacksync.alert_stale() IS
'raises and resolves alerts about stale data, and repeats what lasts (called by the worker) (internal)';

CREATE FUNCTION jacksync.alert_dead_letters()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r	record;
BEGIN
	FOR r IN
		SELECT x.entity, x.server, count(*) AS n FROM jacksync.sync_error x
		WHERE x.state = 'dead' GROUP BY x.entity, x.server
	LOOP
		PERFORM jacksync.alert_raise('dead_letters', 'warning', 'Records Need Attention',
			format('Records of %s could not be synchronized and wait for a person. See jacksync.sync_error.', r.entity),
			r.entity, r.server, jsonb_build_object('records', r.n));
	END LOOP;
	FOR r IN
		SELECT a.entity, a.server FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.kind = 'dead_letters'
			AND NOT EXISTS (SELECT FROM jacksync.sync_error x
				WHERE x.entity = a.entity AND x.server IS NOT DISTINCT FROM a.server AND x.state = 'dead')
	LOOP
		PERFORM jacksync.alert_resolve('dead_letters', r.entity, r.server);
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.alert_dead_letters() IS
'raises and resolves alerts about records that are given up (internal)';

/* called by a worker that starts: did nobody work for long? */
CREATE FUNCTION jacksync.alert_worker_back()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	away	interval;
	warn	numeric;
BEGIN
	SELECT clock_timestamp() - max(w.heartbeat) INTO away FROM jacksync.worker w;
	SELECT t.warning INTO warn FROM jacksync.alert_threshold t WHERE t.metric = 'stale_data';
	-- the heartbeat is written every five minutes only
	IF away > coalesce(warn, 300) * interval '1 s' + interval '5 min' THEN
		PERFORM jacksync.alert_raise('event', 'warning', 'PMS Sync Worker Was Down',
			format('The sync worker did not run for %s. It runs again.', jacksync.age_text(away)), NULL, NULL,
			jsonb_build_object('seconds', round(extract(epoch FROM away))));
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.alert_worker_back() IS
'tells that the worker did not run for long (called by the worker when it starts) (internal)';

CREATE FUNCTION jacksync.alert_repeat()
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE jacksync.alert_delivery d
		SET state = 'pending', reason = 'repeated', attempts = 0, next_attempt_at = clock_timestamp()
		FROM jacksync.alert a, jacksync.alert_channel c
		WHERE a.alert_id = d.alert_id AND a.resolved_at IS NULL
			AND c.channel = d.channel AND c.enabled AND c.type <> 'dashboard'
			AND d.state = 'delivered' AND d.delivered_at < clock_timestamp() - c.repeat_interval
$$;
COMMENT ON FUNCTION jacksync.alert_repeat() IS
'sends alerts that last again after the repeat_interval of their channel (internal)';

/*
 * One alert per record.  When many records come at once, each has its row and
 * its notification, but the channels get the first ones and then one alert
 * that counts the rest.
 */
CREATE FUNCTION jacksync.alert_conflict(id bigint)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c		jacksync.manual_conflict;
	many	boolean;
BEGIN
	SELECT * INTO c FROM jacksync.manual_conflict WHERE conflict_id = id;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT count(*) = 20 INTO many FROM (
		SELECT FROM jacksync.alert a
		WHERE a.resolved_at IS NULL AND a.kind LIKE 'conflict:%' AND a.kind <> 'event'
			AND a.raised_at > now() - interval '1 hour' LIMIT 20) AS recent;
	PERFORM jacksync.alert_raise('conflict:' || c.record_id, 'warning', 'Data Conflict',
		format('Data conflict detected for %s %s', c.entity,
			jacksync.clean_text(coalesce(c.external_id, c.local_id), 200)),
		c.entity, c.server,
		jsonb_strip_nulls(jsonb_build_object('priority', 'high', 'conflict_id', c.conflict_id, 'field', c.field,
			'external_id', left(c.external_id, 500), 'local_id', left(c.local_id, 500))),
		NOT many);
	IF many THEN
		PERFORM jacksync.alert_raise('many_conflicts', 'warning', 'Data Conflicts',
			format('Many data conflicts detected for %s. See jacksync.manual_conflict.', c.entity),
			c.entity, c.server, '{"priority": "high"}');
	END IF;
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
