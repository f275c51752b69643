-- the configuration as a document
\set SHOW_CONTEXT never
CREATE SERVER relay FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://relay.example');
CREATE SERVER hooks FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://hooks.example');

SELECT jacksync.load_config(jacksync.hotel_config());
SELECT jacksync.export_config() #- '{sync,servers}' = jacksync.hotel_config() AS same;
SELECT strategy, count(*), string_agg(entity || '.' || field, ' ' ORDER BY entity, field)
FROM jacksync.authority GROUP BY strategy ORDER BY strategy;
TABLE jacksync.stale_policy ORDER BY entity;
SELECT channel, type, server, recipients, min_level, enabled, webhook_secret FROM jacksync.alert_channel ORDER BY channel;
TABLE jacksync.alert_threshold ORDER BY metric;
-- twice changes nothing
CREATE TEMP TABLE before AS SELECT xmin::text AS x, ctid AS c FROM jacksync.authority
	UNION ALL SELECT xmin::text, ctid FROM jacksync.stale_policy
	UNION ALL SELECT xmin::text, ctid FROM jacksync.alert_channel
	UNION ALL SELECT xmin::text, ctid FROM jacksync.alert_threshold;
SET client_min_messages = warning;
SELECT jacksync.load_config(jacksync.hotel_config());
SELECT count(*) AS changed FROM (
	(SELECT xmin::text, ctid FROM jacksync.authority
	UNION ALL SELECT xmin::text, ctid FROM jacksync.stale_policy
	UNION ALL SELECT xmin::text, ctid FROM jacksync.alert_channel
	UNION ALL SELECT xmin::text, ctid FROM jacksync.alert_threshold)
	EXCEPT ALL TABLE before) AS x;

-- what a person added stays, and a document only changes what it names
UPDATE jacksync.alert_channel SET server = 'relay', sender = 'jacksync@hotel.com', enabled = true WHERE channel = 'email';
UPDATE jacksync.authority SET rationale = 'the guest knows best', push = false WHERE field = 'preferences';
SELECT jacksync.load_config(jacksync.hotel_config());
SELECT channel, server, sender, enabled FROM jacksync.alert_channel ORDER BY channel;
SELECT rationale, push FROM jacksync.authority WHERE field = 'preferences';
SELECT jacksync.load_config('{"sync": {"authority": {"manual": ["guests.preferences"]},
	"alerts": {"thresholds": {"staleData": {"critical": 7200}}}}}');
SELECT strategy, rationale, push FROM jacksync.authority WHERE field = 'preferences';
SELECT * FROM jacksync.alert_threshold ORDER BY metric;

-- nothing is lost on the way out and in
SELECT jacksync.load_config('{"sync": {
	"authority": {"latest_wins": [
		{"field": "stays.from", "fieldGroup": "stay", "columnName": "arrival", "unlessBlank": true},
		{"field": "stays.to", "fieldGroup": "stay", "push": false, "rationale": "why"}]},
	"stale": {"stays": {"maxStaleAge": "90 seconds", "criticalStaleAge": 1.5e3}},
	"alerts": {"channels": [
		{"type": "webhook", "channel": "pager", "server": "hooks", "repeatInterval": 600, "minLevel": "critical"},
		{"type": "slack", "webhook": "${FIRST}"},
		{"type": "slack", "webhook": "${SECOND}", "enabled": false}]}}}');
CREATE TEMP TABLE document AS SELECT jacksync.export_config() AS d;
SELECT jsonb_pretty(d #> '{sync,authority,latest_wins}'), jsonb_pretty(d #> '{sync,alerts,channels}'),
	d #> '{sync,stale,stays}' FROM document;
DELETE FROM jacksync.authority;
DELETE FROM jacksync.stale_policy;
DELETE FROM jacksync.alert_channel;
UPDATE jacksync.alert_threshold SET warning = 1, critical = 1;
SELECT jacksync.load_config(d) FROM document;
SELECT jacksync.export_config() = d AS same FROM document;
-- a whole group may change its strategy
SELECT jacksync.load_config('{"sync": {"authority": {"manual": [{"field": "stays.from", "unlessBlank": false}, "stays.to"]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"pms_authoritative": ["rooms.status", "stays.from"]}}}');
SELECT jacksync.load_config(d) FROM document;

-- a bad document changes nothing and says where it is bad
SELECT jacksync.load_config('[]');
SELECT jacksync.load_config('{"synch": {}}');
SELECT jacksync.load_config('{"sync": {"authorities": {}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"pms": []}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": "guests.name"}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": ["guests.name", 5]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": ["guests.name", "name"]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": ["guests.name"], "merge_fields": ["guests.name"]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"merge_fields": ["guests.tags", "guests.*"]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": [{"field": "guests.name", "pushes": true}]}}}');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": [{"field": "guests.name", "push": "yes"}]}}}');
SELECT jacksync.load_config('{"sync": {"stale": {"rooms": {"maxStaleAge": 60}}}}');
SELECT jacksync.load_config('{"sync": {"stale": {"rooms": {"maxStaleAge": "soon", "criticalStaleAge": 60}}}}');
SELECT jacksync.load_config('{"sync": {"stale": {"rooms": {"maxStaleAge": 600, "criticalStaleAge": 60}}}}');
SELECT jacksync.load_config('{"sync": {"stale": {"rooms": {"maxStaleAge": 60, "criticalStaleAge": 600, "affectedOperations": ["a", null]}}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"thresholds": {"latency": {"warning": 3}}}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"thresholds": {"staleData": {"warning": "3"}}}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"thresholds": {"staleData": {"warning": 9999}}}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "dashboard"}, {"type": "fax"}]}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "slack", "webhook": "https://hooks.example/secret"}]}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "email", "recipients": ["a@b.c\nBcc: d@e.f"]}]}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "slack", "channel": "x"}, {"type": "slack", "channel": "x"}]}}}');
SELECT jacksync.load_config('{"sync": {"alerts": {"channels": [{"type": "slack", "server": "nowhere"}]}}}');
SELECT jacksync.load_config(NULL);
SELECT jacksync.export_config() = d AS same FROM document;

-- the rules are checked against the table when it is bound
CREATE TABLE guests (id int PRIMARY KEY, external_id text, name text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('guests', 'guests');
SELECT jacksync.load_config('{"sync": {"authority": {"manual": ["x.y"]}}}');

DROP TABLE guests;
DELETE FROM jacksync.authority;
DELETE FROM jacksync.operation_guard;
DELETE FROM jacksync.stale_policy;
DELETE FROM jacksync.alert_channel;
UPDATE jacksync.alert_threshold t SET warning = w, critical = c
	FROM (VALUES ('consecutive_failures', 3, 5), ('stale_data', 300, 3600)) AS v (m, w, c) WHERE metric = m;
DROP SERVER relay;
DROP SERVER hooks;
