/*
 * The configuration as one document, as operators keep it in YAML.
 */
CREATE FUNCTION jacksync.hotel_config()
RETURNS jsonb
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT '{"sync": {
	"authority": {
		"pms_authoritative": [
			"reservations.guestName", "reservations.checkInDate", "reservations.checkOutDate",
			"reservations.roomNumber", "reservations.roomType", "reservations.rateCode",
			"reservations.adults", "reservations.children", "reservations.status", "reservations.balance",
			"guests.name", "guests.email", "guests.phone", "guests.loyaltyNumber", "guests.loyaltyTier"],
		"local_authoritative": [
			"guests.communicationChannel", "guests.lastInteraction", "conversations.*", "tasks.*"],
		"merge_fields": [
			"reservations.specialRequests", "guests.preferences", "guests.notes", "guests.tags"]
	},
	"stale": {
		"reservations": {"maxStaleAge": 300, "criticalStaleAge": 3600,
			"affectedOperations": ["check_in", "room_change", "billing"]},
		"guests": {"maxStaleAge": 900, "criticalStaleAge": 86400, "affectedOperations": ["loyalty_lookup"]},
		"rooms": {"maxStaleAge": 60, "criticalStaleAge": 300,
			"affectedOperations": ["room_status", "housekeeping"]}
	},
	"alerts": {
		"channels": [{"type": "dashboard", "minLevel": "warning"}],
		"thresholds": {
			"consecutiveFailures": {"warning": 3, "critical": 5},
			"staleData": {"warning": 300, "critical": 3600}
		}
	}
}}'::jsonb
$$;
COMMENT ON FUNCTION jacksync.hotel_config() IS
'the standard rules of a hotel, for load_config()';

CREATE FUNCTION jacksync.load_config(config jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc			jsonb := config -> 'sync';
	lists		constant jsonb := '{"pms_authoritative": "pms_wins", "local_authoritative": "local_wins",
		"merge_fields": "merge", "latest_wins": "latest_wins", "manual": "manual"}';
	list		text;
	rules		jsonb;
	rule		text;
	item		record;
	channel		jsonb;
	n			integer := 0;
BEGIN
	IF jsonb_typeof(doc) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION 'configuration has no object "sync"'
			USING ERRCODE = 'JS002',
				HINT = 'See SELECT jsonb_pretty(jacksync.hotel_config()) for the shape.';
	END IF;
	PERFORM jacksync.check_members('config', 'document', 'sync', doc, '{authority,stale,alerts}', 'sync');

	IF doc ? 'authority' THEN
		PERFORM jacksync.check_members('config', 'document', 'sync.authority', doc -> 'authority',
			ARRAY(SELECT jsonb_object_keys(lists)), 'sync.authority');
		FOR list, rules IN SELECT * FROM jsonb_each(doc -> 'authority') LOOP
			PERFORM jacksync.check_type('config', 'document', 'sync.authority.' || list, rules, '{array}',
				'sync.authority.' || list);
			FOR rule IN SELECT * FROM jsonb_array_elements_text(rules) LOOP
				IF rule !~ '^[^.]+\..+$' THEN
					RAISE EXCEPTION 'sync.authority.%: "%" is not entity.field', list, rule
						USING ERRCODE = 'JS002', HINT = 'Write for example reservations.guestName or tasks.*.';
				END IF;
				INSERT INTO jacksync.authority AS a (entity, field, strategy)
					VALUES (split_part(rule, '.', 1), substr(rule, strpos(rule, '.') + 1),
						(lists ->> list)::jacksync.strategy)
					ON CONFLICT (entity, field) DO UPDATE SET strategy = excluded.strategy
					WHERE a.strategy <> excluded.strategy;
			END LOOP;
		END LOOP;
	END IF;

	IF doc ? 'stale' THEN
		PERFORM jacksync.check_type('config', 'document', 'sync.stale', doc -> 'stale', '{object}', 'sync.stale');
		FOR item IN SELECT key, value FROM jsonb_each(doc -> 'stale') LOOP
			PERFORM jacksync.check_members('config', 'document', 'sync.stale.' || item.key, item.value,
				'{maxStaleAge,criticalStaleAge,affectedOperations}', 'sync.stale.' || item.key);
			INSERT INTO jacksync.stale_policy AS p (entity, max_stale_age, critical_stale_age, affected_operations)
				VALUES (item.key, (item.value ->> 'maxStaleAge')::numeric * interval '1 s',
					(item.value ->> 'criticalStaleAge')::numeric * interval '1 s',
					ARRAY(SELECT jsonb_array_elements_text(coalesce(item.value -> 'affectedOperations', '[]'))))
				ON CONFLICT (entity) DO UPDATE SET max_stale_age = excluded.max_stale_age,
					critical_stale_age = excluded.critical_stale_age,
					affected_operations = excluded.affected_operations
				WHERE (p.max_stale_age, p.critical_stale_age, p.affected_operations)
					IS DISTINCT FROM (excluded.max_stale_age, excluded.critical_stale_age, excluded.affected_operations);
		END LOOP;
	END IF;

	IF doc ? 'alerts' THEN
		PERFORM jacksync.check_members('config', 'document', 'sync.alerts', doc -> 'alerts',
			'{channels,thresholds}', 'sync.alerts');
		FOR channel IN SELECT * FROM jsonb_array_elements(coalesce(doc #> '{alerts,channels}', '[]')) LOOP
			n := n + 1;
			PERFORM jacksync.check_members('config', 'document', format('sync.alerts.channels[%s]', n - 1), channel,
				'{channel,type,server,sender,recipients,minLevel,webhook,repeatInterval,enabled}', 'sync.alerts.channels');
			INSERT INTO jacksync.alert_channel AS c (channel, type, server, sender, recipients, min_level, enabled)
				VALUES (coalesce(channel ->> 'channel', channel ->> 'type'), channel ->> 'type',
					channel ->> 'server', channel ->> 'sender',
					ARRAY(SELECT jsonb_array_elements_text(coalesce(channel -> 'recipients', '[]'))),
					coalesce(channel ->> 'minLevel', 'warning'),
					coalesce((channel ->> 'enabled')::boolean,
						channel ->> 'type' = 'dashboard' OR channel ? 'server'))
				ON CONFLICT ON CONSTRAINT alert_channel_pkey DO UPDATE SET type = excluded.type,
					recipients = excluded.recipients, min_level = excluded.min_level,
					server = coalesce(excluded.server, c.server), sender = coalesce(excluded.sender, c.sender)
				WHERE (c.type, c.recipients, c.min_level) IS DISTINCT FROM
					(excluded.type, excluded.recipients, excluded.min_level);
		END LOOP;
		FOR item IN
			SELECT m.metric, t.value
			FROM jsonb_each(coalesce(doc #> '{alerts,thresholds}', '{}')) t
				LEFT JOIN (VALUES ('consecutiveFailures', 'consecutive_failures'), ('staleData', 'stale_data'))
					AS m (name, metric) ON m.name = t.key
		LOOP
			IF item.metric IS NULL THEN
				RAISE EXCEPTION 'sync.alerts.thresholds: unknown threshold'
					USING ERRCODE = 'JS002', HINT = 'Valid thresholds are consecutiveFailures and staleData.';
			END IF;
			INSERT INTO jacksync.alert_threshold AS t (metric, warning, critical)
				VALUES (item.metric, (item.value ->> 'warning')::numeric, (item.value ->> 'critical')::numeric)
				ON CONFLICT (metric) DO UPDATE SET warning = excluded.warning, critical = excluded.critical
				WHERE (t.warning, t.critical) IS DISTINCT FROM (excluded.warning, excluded.critical);
		END LOOP;
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.load_config(jsonb) IS
'adds or replaces the rules, policies, channels and thresholds that a document names';

CREATE FUNCTION jacksync.export_config()
RETURNS jsonb
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
SELECT jsonb_build_object('sync', jsonb_build_object(
	'authority', (
		SELECT coalesce(jsonb_object_agg(list, fields), '{}')
		FROM (SELECT CASE strategy WHEN 'pms_wins' THEN 'pms_authoritative'
				WHEN 'local_wins' THEN 'local_authoritative' WHEN 'merge' THEN 'merge_fields'
				ELSE strategy::text END AS list,
				jsonb_agg(entity || '.' || field ORDER BY entity, field) AS fields
			FROM jacksync.authority GROUP BY strategy) AS lists),
	'stale', (
		SELECT coalesce(jsonb_object_agg(entity, jsonb_build_object(
			'maxStaleAge', extract(epoch FROM max_stale_age),
			'criticalStaleAge', extract(epoch FROM critical_stale_age),
			'affectedOperations', to_jsonb(affected_operations))), '{}')
		FROM jacksync.stale_policy),
	'alerts', jsonb_build_object(
		'channels', (
			SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'channel', channel, 'type', type, 'server', server, 'sender', sender,
				'recipients', CASE WHEN recipients <> '{}' THEN to_jsonb(recipients) END,
				'minLevel', min_level, 'enabled', enabled)) ORDER BY channel), '[]')
			FROM jacksync.alert_channel),
		'thresholds', (
			SELECT coalesce(jsonb_object_agg(CASE metric WHEN 'stale_data' THEN 'staleData'
				ELSE 'consecutiveFailures' END,
				jsonb_build_object('warning', warning, 'critical', critical)), '{}')
			FROM jacksync.alert_threshold))))
$$;
COMMENT ON FUNCTION jacksync.export_config() IS
'the configuration as the document that load_config() takes';
