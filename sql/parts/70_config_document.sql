/*
 * The configuration as one document, as operators keep it in YAML.
 */
CREATE FUNCTION jacksync.hotel_config()
RETURNS jsonb
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
-- in the order of export_config()
SELECT '{"sync": {
	"authority": {
		"pms_authoritative": [
			"guests.email", "guests.loyaltyNumber", "guests.loyaltyTier", "guests.name", "guests.phone",
			"reservations.adults", "reservations.balance", "reservations.checkInDate",
			"reservations.checkOutDate", "reservations.children", "reservations.guestName",
			"reservations.rateCode", "reservations.roomNumber", "reservations.roomType",
			"reservations.status"],
		"local_authoritative": [
			"conversations.*", "guests.communicationChannel", "guests.lastInteraction", "tasks.*"],
		"merge_fields": [
			"guests.notes", "guests.preferences", "guests.tags", "reservations.specialRequests"]
	},
	"stale": {
		"reservations": {"maxStaleAge": 300, "criticalStaleAge": 3600,
			"affectedOperations": ["check_in", "room_change", "billing"]},
		"guests": {"maxStaleAge": 900, "criticalStaleAge": 86400, "affectedOperations": ["loyalty_lookup"]},
		"rooms": {"maxStaleAge": 60, "criticalStaleAge": 300,
			"affectedOperations": ["room_status", "housekeeping"]}
	},
	"guards": {
		"reservations": [
			{"operation": "billing", "columns": ["balance"], "condition": "NOT (OLD IS NULL)"},
			{"operation": "check_in", "columns": ["status"], "condition": "NEW.status = ''checked_in''"},
			{"operation": "room_change", "columns": ["room_number"], "condition": "NOT (OLD IS NULL)"}]
	},
	"alerts": {
		"channels": [
			{"type": "dashboard", "minLevel": "warning"},
			{"type": "email", "recipients": ["ops@hotel.com"], "minLevel": "warning"},
			{"type": "slack", "webhook": "${SLACK_WEBHOOK}", "minLevel": "critical"}
		],
		"thresholds": {
			"consecutiveFailures": {"warning": 3, "critical": 5},
			"staleData": {"warning": 300, "critical": 3600}
		}
	}
}}'::jsonb
$$;
COMMENT ON FUNCTION jacksync.hotel_config() IS
'the standard rules of a hotel, for load_config()';

CREATE FUNCTION jacksync.document_error(place text, problem text, hint text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'JS002',
		MESSAGE = format('invalid configuration document at %s: %s', place, problem),
		HINT = hint;
END
$$;
COMMENT ON FUNCTION jacksync.document_error(text, text, text) IS
'refuses a document (internal)';

/* What a document has to have at a place; its members are checked, too, where they are given. */
CREATE FUNCTION jacksync.document_check(place text, value jsonb, type text, members text[] DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	member text;
BEGIN
	IF jsonb_typeof(value) IS DISTINCT FROM type THEN
		PERFORM jacksync.document_error(place,
			CASE WHEN value IS NULL THEN 'missing' ELSE format('%s is no %s', left(value::text, 100), type) END,
			format('Write a value of JSON type %s.', type));
	END IF;
	IF type = 'object' AND members IS NOT NULL THEN
		SELECT k INTO member FROM jsonb_object_keys(value) AS k
		WHERE k <> ALL (members) ORDER BY k COLLATE "C" LIMIT 1;
		IF FOUND THEN
			PERFORM jacksync.document_error(place, format('unknown member "%s"', left(member, 100)),
				format('Valid members are: %s.', array_to_string(members, ', ')));
		END IF;
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.document_check(text, jsonb, text, text[]) IS
'checks type and members at one place of a document (internal)';

CREATE FUNCTION jacksync.document_seconds(place text, value jsonb)
RETURNS interval
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF jsonb_typeof(value) = 'number' THEN
		RETURN value::numeric * interval '1 s';
	ELSIF jsonb_typeof(value) = 'string' THEN
		RETURN (value #>> '{}')::interval;
	END IF;
	PERFORM jacksync.document_error(place,
		CASE WHEN value IS NULL THEN 'missing' ELSE format('%s is no time', left(value::text, 100)) END,
		'Write a number of seconds, or an interval such as "5 minutes".');
	RETURN NULL;
EXCEPTION WHEN data_exception THEN
	PERFORM jacksync.document_error(place, format('%s is no time', left(value::text, 100)),
		'Write a number of seconds, or an interval such as "5 minutes".');
END
$$;
COMMENT ON FUNCTION jacksync.document_seconds(text, jsonb) IS
'a time in a document (internal)';

/*
 * The rows are written through the same checks as by hand; their errors get
 * the place in the document before the message.
 */
CREATE FUNCTION jacksync.load_config(config jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc			jsonb;
	part		jsonb;
	lists		constant jsonb := '{"pms_authoritative": "pms_wins", "local_authoritative": "local_wins",
		"merge_fields": "merge", "latest_wins": "latest_wins", "manual": "manual"}';
	place		text := 'the top';
	list		text;
	item		jsonb;
	n			integer;
	name		text;
	rules		jsonb := '{}';		-- entity.field to rule
	key			text;
	old			jacksync.alert_channel;
	new			jacksync.alert_channel;
	metric_name	text;
	critical	numeric;
	warning		numeric;
	m			text;
	d			text;
	h			text;
	s			text;
BEGIN
	PERFORM jacksync.document_check(place, config, 'object', '{sync}');
	doc := config -> 'sync';
	PERFORM jacksync.document_check('sync', doc, 'object',
		'{authority,stale,guards,alerts,servers,entities,streams,maintenance}');

	-- rules: all in one statement, as the fields of a group change together
	IF doc ? 'authority' THEN
		PERFORM jacksync.document_check('sync.authority', doc -> 'authority', 'object',
			ARRAY(SELECT k FROM jsonb_object_keys(lists) AS k));
		FOR list, part IN SELECT * FROM jsonb_each(doc -> 'authority') LOOP
			PERFORM jacksync.document_check('sync.authority.' || list, part, 'array');
			n := 0;
			FOR item IN SELECT * FROM jsonb_array_elements(part) LOOP
				place := format('sync.authority.%s[%s]', list, n);
				n := n + 1;
				IF jsonb_typeof(item) = 'string' THEN
					item := jsonb_build_object('field', item);
				END IF;
				PERFORM jacksync.document_check(place, item, 'object',
					'{field,columnName,push,unlessBlank,fieldGroup,rationale}');
				PERFORM jacksync.document_check(place || '.field', item -> 'field', 'string');
				key := item ->> 'field';
				IF key !~ '^[^.]+\..+$' THEN
					PERFORM jacksync.document_error(place, format('"%s" is not entity.field', left(key, 100)),
						'Write for example reservations.guestName or tasks.*.');
				END IF;
				IF rules ? key THEN
					PERFORM jacksync.document_error(place,
						format('"%s" is already at %s', key, rules #>> ARRAY[key, 'place']),
						'Each field has one rule.');
				END IF;
				FOR name IN SELECT k FROM unnest('{push,unlessBlank}'::text[]) AS k WHERE item ? k LOOP
					PERFORM jacksync.document_check(place || '.' || name, item -> name, 'boolean');
				END LOOP;
				FOR name IN SELECT k FROM unnest('{columnName,fieldGroup,rationale}'::text[]) AS k WHERE item ? k LOOP
					PERFORM jacksync.document_check(place || '.' || name, item -> name, 'string');
				END LOOP;
				rules := rules || jsonb_build_object(key,
					item || jsonb_build_object('strategy', lists -> list, 'place', place));
			END LOOP;
		END LOOP;
		BEGIN
			INSERT INTO jacksync.authority AS a
				(entity, field, strategy, column_name, push, unless_blank, field_group, rationale)
			SELECT split_part(r.key, '.', 1), substr(r.key, strpos(r.key, '.') + 1),
				(r.value ->> 'strategy')::jacksync.strategy, r.value ->> 'columnName',
				(r.value -> 'push')::boolean, coalesce((r.value -> 'unlessBlank')::boolean, false),
				r.value ->> 'fieldGroup', r.value ->> 'rationale'
			FROM jsonb_each(rules) AS r
			ON CONFLICT (entity, field) DO UPDATE
				SET strategy = excluded.strategy,
					-- what the document does not say stays as it is
					column_name = coalesce(excluded.column_name, a.column_name),
					push = coalesce(excluded.push, a.push),
					unless_blank = CASE WHEN rules -> (a.entity || '.' || a.field) ? 'unlessBlank'
						THEN excluded.unless_blank ELSE a.unless_blank END,
					field_group = coalesce(excluded.field_group, a.field_group),
					rationale = coalesce(excluded.rationale, a.rationale)
				WHERE (a.strategy, a.column_name, a.push, a.unless_blank, a.field_group, a.rationale)
					IS DISTINCT FROM (excluded.strategy, coalesce(excluded.column_name, a.column_name),
						coalesce(excluded.push, a.push),
						CASE WHEN rules -> (a.entity || '.' || a.field) ? 'unlessBlank'
							THEN excluded.unless_blank ELSE a.unless_blank END,
						coalesce(excluded.field_group, a.field_group),
						coalesce(excluded.rationale, a.rationale));
		EXCEPTION WHEN SQLSTATE 'JS002' THEN
			GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT;
			SELECT r.value ->> 'place' INTO place FROM jsonb_each(rules) AS r
			WHERE d = format('Rule for field "%s" of entity "%s".',
				substr(r.key, strpos(r.key, '.') + 1), split_part(r.key, '.', 1));
			RAISE EXCEPTION USING ERRCODE = 'JS002', DETAIL = d, HINT = h,
				MESSAGE = format('invalid configuration document at %s: %s', coalesce(place, 'sync.authority'), m);
		END;
	END IF;

	PERFORM jacksync.document_rows(doc);

	BEGIN
		IF doc ? 'stale' THEN
			PERFORM jacksync.document_check('sync.stale', doc -> 'stale', 'object');
			FOR name, item IN SELECT * FROM jsonb_each(doc -> 'stale') LOOP
				place := 'sync.stale.' || name;
				PERFORM jacksync.document_check(place, item, 'object',
					'{maxStaleAge,criticalStaleAge,affectedOperations}');
				IF item ? 'affectedOperations' THEN
					PERFORM jacksync.document_texts(place || '.affectedOperations', item -> 'affectedOperations');
				END IF;
				INSERT INTO jacksync.stale_policy AS p (entity, max_stale_age, critical_stale_age, affected_operations)
					VALUES (name, jacksync.document_seconds(place || '.maxStaleAge', item -> 'maxStaleAge'),
						jacksync.document_seconds(place || '.criticalStaleAge', item -> 'criticalStaleAge'),
						ARRAY(SELECT jsonb_array_elements_text(item -> 'affectedOperations')))
					ON CONFLICT (entity) DO UPDATE SET max_stale_age = excluded.max_stale_age,
						critical_stale_age = excluded.critical_stale_age,
						affected_operations = excluded.affected_operations
					WHERE (p.max_stale_age, p.critical_stale_age, p.affected_operations)
						IS DISTINCT FROM (excluded.max_stale_age, excluded.critical_stale_age, excluded.affected_operations);
			END LOOP;
		END IF;

		IF doc ? 'guards' THEN
			PERFORM jacksync.document_check('sync.guards', doc -> 'guards', 'object');
			FOR name, part IN SELECT * FROM jsonb_each(doc -> 'guards') LOOP
				place := 'sync.guards.' || name;
				PERFORM jacksync.document_check(place, part, 'array');
				FOR item, n IN SELECT e, i - 1 FROM jsonb_array_elements(part) WITH ORDINALITY AS c (e, i) LOOP
					place := format('sync.guards.%s[%s]', name, n);
					PERFORM jacksync.document_check(place, item, 'object', '{operation,columns,condition}');
					PERFORM jacksync.document_check(place || '.operation', item -> 'operation', 'string');
					PERFORM jacksync.document_texts(place || '.columns', item -> 'columns');
					IF item ? 'condition' THEN
						PERFORM jacksync.document_check(place || '.condition', item -> 'condition', 'string');
					END IF;
					INSERT INTO jacksync.operation_guard AS g (entity, operation, columns, condition)
						VALUES (name, item ->> 'operation',
							ARRAY(SELECT jsonb_array_elements_text(item -> 'columns'))::name[], item ->> 'condition')
						ON CONFLICT (entity, operation) DO UPDATE
							SET columns = excluded.columns, condition = excluded.condition
						WHERE (g.columns, g.condition) IS DISTINCT FROM (excluded.columns, excluded.condition);
				END LOOP;
			END LOOP;
		END IF;

		IF doc ? 'alerts' THEN
			PERFORM jacksync.document_check('sync.alerts', doc -> 'alerts', 'object', '{channels,thresholds}');
		END IF;

		IF doc -> 'alerts' ? 'thresholds' THEN
			part := doc #> '{alerts,thresholds}';
			PERFORM jacksync.document_check('sync.alerts.thresholds', part, 'object', '{consecutiveFailures,staleData}');
			FOR name, item IN SELECT * FROM jsonb_each(part) LOOP
				place := 'sync.alerts.thresholds.' || name;
				metric_name := jacksync.snake_case(name);
				PERFORM jacksync.document_check(place, item, 'object', '{warning,critical}');
				FOR key IN SELECT k FROM unnest('{warning,critical}'::text[]) AS k WHERE item ? k LOOP
					PERFORM jacksync.document_check(place || '.' || key, item -> key, 'number');
				END LOOP;
				SELECT coalesce((item -> 'warning')::numeric, t.warning),
					coalesce((item -> 'critical')::numeric, t.critical)
					INTO warning, critical
					FROM (VALUES (1)) AS one LEFT JOIN jacksync.alert_threshold t ON t.metric = metric_name;
				IF warning IS NULL OR critical IS NULL THEN
					PERFORM jacksync.document_error(place, 'warning or critical is missing', 'Write both numbers.');
				END IF;
				INSERT INTO jacksync.alert_threshold AS t (metric, warning, critical)
					VALUES (metric_name, warning, critical)
					ON CONFLICT ON CONSTRAINT alert_threshold_pkey DO UPDATE
						SET warning = excluded.warning, critical = excluded.critical
					WHERE (t.warning, t.critical) IS DISTINCT FROM (excluded.warning, excluded.critical);
			END LOOP;
		END IF;

		IF doc -> 'alerts' ? 'channels' THEN
			part := doc #> '{alerts,channels}';
			place := 'sync.alerts.channels';
			PERFORM jacksync.document_check(place, part, 'array');
			rules := '{}';
			FOR item, n IN SELECT e, i - 1 FROM jsonb_array_elements(part) WITH ORDINALITY AS c (e, i) LOOP
				place := format('sync.alerts.channels[%s]', n);
				PERFORM jacksync.document_check(place, item, 'object',
					'{channel,type,server,sender,recipients,webhook,minLevel,repeatInterval,enabled}');
				PERFORM jacksync.document_check(place || '.type', item -> 'type', 'string');
				FOR key IN SELECT k FROM unnest('{channel,server,sender,webhook,minLevel}'::text[]) AS k
					WHERE item ? k
				LOOP
					PERFORM jacksync.document_check(place || '.' || key, item -> key, 'string');
				END LOOP;
				IF item ? 'recipients' THEN
					PERFORM jacksync.document_texts(place || '.recipients', item -> 'recipients');
				END IF;
				IF item ? 'enabled' THEN
					PERFORM jacksync.document_check(place || '.enabled', item -> 'enabled', 'boolean');
				END IF;
				-- an address of a webhook lets everybody write there: it has no place in a document
				IF item ->> 'webhook' !~ '^\$\{[A-Za-z_][A-Za-z0-9_]*\}$' THEN
					PERFORM jacksync.document_error(place || '.webhook', 'it is no ${NAME}',
						'The address of a webhook is a secret: store it in the user mapping of the server of the channel, and name it as in ${SLACK_WEBHOOK}.');
				END IF;

				-- without a name, the first of a type is called like it, the second type_2
				name := coalesce(item ->> 'channel', (item ->> 'type') || coalesce('_' ||
					nullif((SELECT count(*) FROM jsonb_array_elements(part) WITH ORDINALITY AS c (e, i)
						WHERE i - 1 <= n AND e -> 'type' = item -> 'type' AND NOT e ? 'channel'), 1), ''));
				IF rules ? name THEN
					PERFORM jacksync.document_error(place,
						format('channel "%s" is already at %s', name, rules ->> name),
						'Give each channel a name of its own as "channel".');
				END IF;
				rules := rules || jsonb_build_object(name, place);

				SELECT * INTO old FROM jacksync.alert_channel c WHERE c.channel = name;
				new := old;
				new.channel := name;
				new.type := item ->> 'type';
				new.server := coalesce(item ->> 'server', old.server);
				new.sender := coalesce(item ->> 'sender', old.sender);
				new.webhook_secret := coalesce(substr(item ->> 'webhook', 3, length(item ->> 'webhook') - 3),
					old.webhook_secret);
				new.recipients := CASE WHEN item ? 'recipients'
					THEN ARRAY(SELECT jsonb_array_elements_text(item -> 'recipients'))
					ELSE coalesce(old.recipients, '{}') END;
				new.min_level := coalesce(item ->> 'minLevel', old.min_level, 'warning');
				new.repeat_interval := CASE WHEN item ? 'repeatInterval'
					THEN jacksync.document_seconds(place || '.repeatInterval', item -> 'repeatInterval')
					ELSE coalesce(old.repeat_interval, '4 hours') END;
				new.enabled := coalesce((item -> 'enabled')::boolean, old.enabled, true);
				IF new.enabled AND jacksync.channel_lacks(new) <> '' AND old.enabled IS NOT TRUE THEN
					new.enabled := false;
				END IF;
				IF NOT new.enabled AND jacksync.channel_lacks(new) <> ''
					AND coalesce((item -> 'enabled')::boolean, true)
				THEN
					RAISE NOTICE 'alert channel "%" is disabled: it has no %', name, jacksync.channel_lacks(new)
						USING HINT = format('UPDATE jacksync.alert_channel SET server = ..., enabled = true WHERE channel = %L.', name);
				END IF;
				IF old.channel IS NULL THEN
					INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients, min_level,
							repeat_interval, enabled, webhook_secret)
						VALUES (new.channel, new.type, new.server, new.sender, new.recipients, new.min_level,
							new.repeat_interval, new.enabled, new.webhook_secret);
				ELSIF new IS DISTINCT FROM old THEN
					UPDATE jacksync.alert_channel c
						SET type = new.type, server = new.server, sender = new.sender,
							recipients = new.recipients, min_level = new.min_level,
							repeat_interval = new.repeat_interval, enabled = new.enabled,
							webhook_secret = new.webhook_secret
						WHERE c.channel = name;
				END IF;
			END LOOP;
		END IF;
	EXCEPTION WHEN SQLSTATE 'JS002' THEN
		GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, s = TABLE_NAME;
		IF s = '' THEN
			RAISE;				-- it says its place
		END IF;
		RAISE EXCEPTION USING ERRCODE = 'JS002', DETAIL = d, HINT = h,
			MESSAGE = format('invalid configuration document at %s: %s', place, m);
	END;
END
$$;
COMMENT ON FUNCTION jacksync.load_config(jsonb) IS
'adds or replaces the rules, policies, channels, servers, entities and streams that a document names';

CREATE FUNCTION jacksync.document_texts(place text, value jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item jsonb;
	n	integer := 0;
BEGIN
	PERFORM jacksync.document_check(place, value, 'array');
	FOR item IN SELECT * FROM jsonb_array_elements(value) LOOP
		PERFORM jacksync.document_check(format('%s[%s]', place, n), item, 'string');
		n := n + 1;
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.document_texts(text, jsonb) IS
'checks an array of texts in a document (internal)';

CREATE FUNCTION jacksync.channel_lacks(channel jacksync.alert_channel)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT concat_ws(', ',
		CASE WHEN channel.type <> 'dashboard' AND channel.server IS NULL THEN 'server' END,
		CASE WHEN channel.type = 'email' AND channel.sender IS NULL THEN 'sender' END,
		CASE WHEN channel.type = 'email' AND cardinality(channel.recipients) = 0 THEN 'recipients' END)
$$;
COMMENT ON FUNCTION jacksync.channel_lacks(jacksync.alert_channel) IS
'what a channel needs before it can be enabled (internal)';

/* A rule with nothing but a strategy is a text, others are objects; nothing is lost. */
CREATE FUNCTION jacksync.export_config()
RETURNS jsonb
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
SELECT jsonb_build_object('sync', jsonb_build_object(
	'authority', (
		SELECT coalesce(jsonb_object_agg(list, fields), '{}')
		FROM (SELECT CASE a.strategy WHEN 'pms_wins' THEN 'pms_authoritative'
				WHEN 'local_wins' THEN 'local_authoritative' WHEN 'merge' THEN 'merge_fields'
				ELSE a.strategy::text END AS list,
				jsonb_agg(CASE WHEN r.more = '{}' THEN to_jsonb(a.entity || '.' || a.field)
					ELSE jsonb_build_object('field', a.entity || '.' || a.field) || r.more END
					ORDER BY a.entity, a.field) AS fields
			FROM jacksync.authority a,
				LATERAL (SELECT jsonb_strip_nulls(jsonb_build_object(
					'columnName', a.column_name, 'push', a.push,
					'unlessBlank', nullif(a.unless_blank, false),
					'fieldGroup', a.field_group, 'rationale', a.rationale))) AS r (more)
			GROUP BY a.strategy) AS lists),
	'stale', (
		SELECT coalesce(jsonb_object_agg(p.entity, jsonb_build_object(
			'maxStaleAge', trim_scale(extract(epoch FROM p.max_stale_age)),
			'criticalStaleAge', trim_scale(extract(epoch FROM p.critical_stale_age)),
			'affectedOperations', to_jsonb(p.affected_operations))), '{}')
		FROM jacksync.stale_policy p),
	'guards', (
		SELECT coalesce(jsonb_object_agg(g.entity, g.guards), '{}')
		FROM (SELECT o.entity, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('operation', o.operation,
				'columns', to_jsonb(o.columns), 'condition', o.condition))
				ORDER BY o.operation COLLATE "C") AS guards
			FROM jacksync.operation_guard o GROUP BY o.entity) AS g),
	'alerts', jsonb_build_object(
		'channels', (
			SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'channel', nullif(c.channel, c.type), 'type', c.type, 'server', c.server, 'sender', c.sender,
				'recipients', CASE WHEN c.recipients <> '{}' THEN to_jsonb(c.recipients) END,
				'webhook', '${' || c.webhook_secret || '}',
				'minLevel', c.min_level,
				'repeatInterval', CASE WHEN c.repeat_interval <> interval '4 hours'
					THEN trim_scale(extract(epoch FROM c.repeat_interval)) END,
				-- that it cannot be enabled yet need not be said
				'enabled', CASE WHEN NOT c.enabled AND jacksync.channel_lacks(c) = '' THEN false END))
				ORDER BY c.channel COLLATE "C"), '[]')
			FROM jacksync.alert_channel c),
		'thresholds', (
			SELECT coalesce(jsonb_object_agg(jacksync.camel_case(t.metric),
				jsonb_build_object('warning', trim_scale(t.warning), 'critical', trim_scale(t.critical))), '{}')
			FROM jacksync.alert_threshold t))) || jacksync.document_of_rows())
$$;
COMMENT ON FUNCTION jacksync.export_config() IS
'the configuration as the document that load_config() takes';
