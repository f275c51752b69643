/*
 * Delivery of alerts: what goes out, in which words, and when.  The worker
 * (src/deliver.c) claims a message, sends it, and reports the outcome.
 */
CREATE TABLE jacksync.alert_silence
(
	silence_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	entity		text COLLATE "C",
	server		name,
	until		timestamptz NOT NULL,
	reason		text,
	created_by	text NOT NULL,
	created_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE jacksync.alert_silence IS 'alerts that are noted but not sent for a time';
COMMENT ON COLUMN jacksync.alert_silence.silence_id IS 'number of the silence';
COMMENT ON COLUMN jacksync.alert_silence.entity IS 'alerts of this entity; NULL: of all';
COMMENT ON COLUMN jacksync.alert_silence.server IS 'alerts of this server; NULL: of all';
COMMENT ON COLUMN jacksync.alert_silence.until IS 'until then';
COMMENT ON COLUMN jacksync.alert_silence.reason IS 'why';
COMMENT ON COLUMN jacksync.alert_silence.created_by IS 'the role that asked for it';
COMMENT ON COLUMN jacksync.alert_silence.created_at IS 'when it began';
SELECT pg_catalog.pg_extension_config_dump('jacksync.alert_silence', '');

CREATE FUNCTION jacksync.silence_alerts(duration interval, entity text DEFAULT NULL, server name DEFAULT NULL,
	reason text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	id	bigint;
BEGIN
	IF duration IS NULL OR duration < interval '0' THEN
		RAISE EXCEPTION 'duration must not be negative'
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'SELECT jacksync.silence_alerts(''2 hours''); a duration of 0 ends the silence.';
	END IF;
	-- a new word about the same thing replaces the old one
	DELETE FROM jacksync.alert_silence s
		WHERE s.until < now() OR (s.entity IS NOT DISTINCT FROM silence_alerts.entity
			AND s.server IS NOT DISTINCT FROM silence_alerts.server);
	IF duration > interval '0' THEN
		INSERT INTO jacksync.alert_silence AS s (entity, server, until, reason, created_by)
			VALUES (entity, server, clock_timestamp() + duration, reason, jacksync.acting_role())
			RETURNING s.silence_id INTO id;
	END IF;
	INSERT INTO jacksync.audit_log (operation, entity, server, after_state, resolved_by)
		VALUES ('manual_override', entity, server,
			jsonb_build_object('alerts_silenced', duration::text, 'reason', reason), jacksync.acting_role());
	PERFORM jacksync.wake_worker();
	RETURN id;
END
$$;
COMMENT ON FUNCTION jacksync.silence_alerts(interval, text, name, text) IS
'sends no alerts of an entity or server (or of all) for a time; they are noted, and sent afterwards if they last; 0 ends the silence';

CREATE FUNCTION jacksync.is_silenced(a jacksync.alert)
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM jacksync.alert_silence s
		WHERE s.until > clock_timestamp()
			AND (s.entity IS NULL OR s.entity = a.entity)
			AND (s.server IS NULL OR s.server = a.server))
$$;
COMMENT ON FUNCTION jacksync.is_silenced(jacksync.alert) IS
'whether nobody is to be told of an alert now (internal)';

/*
 * A channel that was sent more than STORM messages within a minute gets no
 * more of them one by one: what comes is gathered into one message a minute.
 */
CREATE FUNCTION jacksync.channel_storms(channel text)
RETURNS boolean
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT count(DISTINCT d.delivered_at) >= 5
	FROM jacksync.alert_delivery d
	WHERE d.channel = channel_storms.channel AND d.delivered_at > clock_timestamp() - interval '1 minute'
$$;
COMMENT ON FUNCTION jacksync.channel_storms(text) IS
'whether a channel was sent so much of late that messages are gathered (internal)';

CREATE FUNCTION jacksync.delivery_due()
RETURNS timestamptz
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT min(greatest(d.next_attempt_at,
		(SELECT max(o.delivered_at) + interval '1 minute' FROM jacksync.alert_delivery o
			WHERE o.channel = d.channel AND jacksync.channel_storms(d.channel))))
	FROM jacksync.alert_delivery d JOIN jacksync.alert_channel c USING (channel)
		JOIN jacksync.alert a USING (alert_id)
	WHERE d.state = 'pending' AND c.enabled AND c.type <> 'dashboard' AND NOT jacksync.is_silenced(a)
$$;
COMMENT ON FUNCTION jacksync.delivery_due() IS
'when the next message is due (called by the worker) (internal)';

/* & < > of Slack begin its markup: mentions, links, entities */
CREATE FUNCTION jacksync.slack_text(value text)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT replace(replace(replace(value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;')
$$;
COMMENT ON FUNCTION jacksync.slack_text(text) IS
'a text in which nothing is markup for Slack (internal)';

/* one alert in words; the level tells what became of it */
CREATE FUNCTION jacksync.alert_line(a jacksync.alert, why text)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('[%s] %s%s', CASE why WHEN 'resolved' THEN 'resolved' ELSE a.level END,
		jacksync.clean_text(a.title, 200),
		coalesce(' (' || nullif(concat_ws(' from ', jacksync.clean_text(a.entity, 63), jacksync.clean_text(a.server::text, 63)), '') || ')', ''))
$$;
COMMENT ON FUNCTION jacksync.alert_line(jacksync.alert, text) IS
'the subject of a message about an alert (internal)';

CREATE FUNCTION jacksync.alert_body(a jacksync.alert, why text)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT concat_ws(E'\n', jacksync.clean_text(a.message, 2000), '',
		'Level: ' || a.level || CASE why WHEN 'resolved' THEN ', over now' WHEN 'repeated' THEN ', it lasts' ELSE '' END,
		'Entity: ' || jacksync.clean_text(a.entity, 63), 'Server: ' || jacksync.clean_text(a.server::text, 63),
		'Since: ' || to_char(a.raised_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC',
		'Over: ' || to_char(CASE WHEN a.kind <> 'event' THEN a.resolved_at END AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC',
		'What the PMS said: ' || jacksync.clean_text(a.context ->> 'error', 500),
		'Alert ' || a.alert_id || ' of database ' || current_database())
$$;
COMMENT ON FUNCTION jacksync.alert_body(jacksync.alert, text) IS
'the text of a message about an alert (internal)';

/*
 * The next message: of the channel that has waited longest, one alert, or
 * all of them where there are many.  Its next try is noted at once: should we
 * crash before the outcome is recorded, it is sent again.
 */
CREATE FUNCTION jacksync.delivery_claim(OUT channel text, OUT type text, OUT alerts bigint[], OUT server_oid oid,
	OUT owner_oid oid, OUT sender text, OUT recipients text[], OUT webhook_secret text, OUT subject text,
	OUT body text, OUT payload jsonb)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	c		jacksync.alert_channel;
	due		bigint[];
BEGIN
	SELECT x.* INTO c
		FROM jacksync.alert_channel x,
			LATERAL (SELECT min(d.next_attempt_at) FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id)
				WHERE d.channel = x.channel AND d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
					AND NOT jacksync.is_silenced(a)) AS w (since)
		WHERE x.enabled AND x.type <> 'dashboard' AND w.since IS NOT NULL
			AND (NOT jacksync.channel_storms(x.channel)
				OR NOT EXISTS (SELECT FROM jacksync.alert_delivery o
					WHERE o.channel = x.channel AND o.delivered_at > clock_timestamp() - interval '1 minute'))
		ORDER BY w.since LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT array_agg(p.alert_id) INTO due FROM (
		SELECT d.alert_id FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id)
		WHERE d.channel = c.channel AND d.state = 'pending' AND d.next_attempt_at <= clock_timestamp()
			AND NOT jacksync.is_silenced(a)
		ORDER BY d.alert_id LIMIT 500 FOR UPDATE OF d SKIP LOCKED) AS p;
	IF due IS NULL THEN
		RETURN;
	END IF;
	IF cardinality(due) <= 3 THEN
		due := due[1:1];
	END IF;
	UPDATE jacksync.alert_delivery d SET attempts = d.attempts + 1,
			next_attempt_at = clock_timestamp() + least('1 hour', '15 s'::interval * power(2, least(d.attempts, 8)))
		WHERE d.channel = c.channel AND d.alert_id = ANY (due);

	SELECT CASE count(*) WHEN 1 THEN min(jacksync.alert_line(a, d.reason))
			ELSE format('[%s] %s alerts: %s ...',
				(array_agg(a.level ORDER BY jacksync.alert_level(a.level) DESC))[1], count(*),
				(array_agg(a.title ORDER BY jacksync.alert_level(a.level) DESC, a.alert_id))[1]) END,
		CASE count(*) WHEN 1 THEN min(jacksync.alert_body(a, d.reason))
			ELSE concat_ws(E'\n', format('%s alerts at once:', count(*)), '',
				string_agg(jacksync.alert_line(a, d.reason) || E'\n  ' || jacksync.clean_text(a.message, 300), E'\n' ORDER BY
					jacksync.alert_level(a.level) DESC, a.alert_id),
				'', 'SELECT * FROM jacksync.status in database ' || current_database() || ' shows how things stand.') END,
		CASE c.type WHEN 'webhook' THEN jsonb_build_object('version', 1, 'database', current_database(),
			'alerts', jsonb_agg(jsonb_build_object('alert_id', a.alert_id, 'reason', d.reason, 'kind', a.kind,
				'level', a.level, 'title', a.title, 'message', a.message, 'entity', a.entity, 'server', a.server,
				'raised_at', a.raised_at, 'resolved_at', a.resolved_at, 'context', a.context) ORDER BY a.alert_id)) END
		INTO subject, body, payload
		FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id)
		WHERE d.channel = c.channel AND d.alert_id = ANY (due);
	IF c.type = 'slack' THEN
		payload := jsonb_build_object(
			'text', left(format(E'*%s*\n%s', jacksync.slack_text(subject), jacksync.slack_text(body)), 3000),
			'unfurl_links', false, 'unfurl_media', false);
	END IF;
	SELECT f.oid, f.srvowner INTO server_oid, owner_oid FROM pg_foreign_server f WHERE f.srvname = c.server;
	channel := c.channel;
	type := c.type;
	alerts := due;
	sender := c.sender;
	recipients := c.recipients;
	webhook_secret := c.webhook_secret;
END
$$;
COMMENT ON FUNCTION jacksync.delivery_claim() IS
'takes the next message out of the outbox (called by the worker) (internal)';

/* attempts is 0 where the alert has changed while the message was under way: that is still to be sent */
CREATE FUNCTION jacksync.delivery_done(channel text, alerts bigint[], error text, permanent boolean)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE jacksync.alert_delivery d
	SET state = CASE WHEN delivery_done.error IS NULL THEN 'delivered'
			WHEN permanent OR d.attempts >= 10 THEN 'dead' ELSE 'pending' END,
		delivered_at = CASE WHEN delivery_done.error IS NULL THEN now() ELSE d.delivered_at END,
		last_error = left(jacksync.clean_text(delivery_done.error), 500)
	WHERE d.channel = delivery_done.channel AND d.alert_id = ANY (alerts) AND d.state = 'pending' AND d.attempts > 0
$$;
COMMENT ON FUNCTION jacksync.delivery_done(text, bigint[], text, boolean) IS
'records what became of a message (called by the worker) (internal)';

CREATE FUNCTION jacksync.test_channel(channel text)
RETURNS bigint
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	c	jacksync.alert_channel;
	id	bigint;
BEGIN
	SELECT * INTO c FROM jacksync.alert_channel x WHERE x.channel = test_channel.channel;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'alert channel "%" does not exist', channel
			USING ERRCODE = 'undefined_object', HINT = 'SELECT channel FROM jacksync.alert_channel lists the channels.';
	END IF;
	IF NOT c.enabled THEN
		RAISE EXCEPTION 'alert channel "%" is disabled', channel
			USING ERRCODE = 'object_not_in_prerequisite_state',
				DETAIL = nullif('It has no ' || jacksync.channel_lacks(c) || '.', 'It has no .'),
				HINT = format('UPDATE jacksync.alert_channel SET enabled = true WHERE channel = %L;', channel);
	END IF;
	INSERT INTO jacksync.alert (kind, level, title, message, context, resolved_at)
		VALUES ('event', 'info', 'Test message', format('This is a test of the alert channel "%s", sent by %s.',
			jacksync.clean_text(channel, 63), jacksync.acting_role()), '{"test": true}', clock_timestamp())
		RETURNING alert_id INTO id;
	INSERT INTO jacksync.alert_delivery (alert_id, channel, state, delivered_at)
		VALUES (id, test_channel.channel, CASE c.type WHEN 'dashboard' THEN 'delivered' ELSE 'pending' END,
			CASE c.type WHEN 'dashboard' THEN clock_timestamp() END);
	PERFORM jacksync.alert_notify(id);
	PERFORM jacksync.wake_worker();
	RETURN id;
END
$$;
COMMENT ON FUNCTION jacksync.test_channel(text) IS
'sends a test message through an alert channel; returns its alert_id: SELECT state, last_error FROM jacksync.alert_delivery shows what became of it';

CREATE FUNCTION jacksync.alert_stir()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM jacksync.wake_worker();
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION jacksync.alert_stir() IS
'wakes the worker when something is to be sent (trigger)';
CREATE TRIGGER alert_stir
	AFTER INSERT ON jacksync.alert_delivery
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.alert_stir();
COMMENT ON TRIGGER alert_stir ON jacksync.alert_delivery IS 'wakes the worker when something is to be sent';
