-- the checks of the configuration tables
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- names
SELECT f, jacksync.snake_case(f), jacksync.camel_case(jacksync.snake_case(f))
FROM unnest('{checkInDate,roomNumber,URL,address2,guestID,guestIDs,PMSUrl,line2Text,already_snake,two words,a-b,X}'::text[]) AS f;

CREATE TABLE stays (id int PRIMARY KEY, external_id text, arrival date, departure date, nights int,
	tags text[], notes text, prefs jsonb, hotel text, total int GENERATED ALWAYS AS (nights * 2) STORED);
CREATE TABLE nokey (id int, external_id text);
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE, external_id text);
CREATE TABLE forced (id int PRIMARY KEY, external_id text);
CREATE VIEW stays_view AS SELECT * FROM stays;
CREATE TEMP TABLE temporary (id int PRIMARY KEY, external_id text);
CREATE DOMAIN remark AS varchar(100);
CREATE TABLE parted (id int PRIMARY KEY, external_id text, remark remark, score numeric) PARTITION BY RANGE (id);
CREATE SERVER lodge FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://lodge.example');
CREATE SERVER annex FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://annex.example');
CREATE SERVER post FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtps://post.example');
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER other FOREIGN DATA WRAPPER regress_other;

-- entity
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'nokey');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'deferred');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'stays_view');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'pg_class');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'jacksync.link');
DO $$
BEGIN
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'pg_temp.temporary');
EXCEPTION WHEN SQLSTATE 'JS002' THEN
	RAISE WARNING '%', regexp_replace(SQLERRM, 'pg_temp_\d+', 'pg_temp');
END
$$;
INSERT INTO jacksync.entity (entity, local_table) VALUES ('st.*', 'stays');
INSERT INTO jacksync.entity (entity, local_table, external_id_column) VALUES ('stays', 'stays', 'pms_id');
INSERT INTO jacksync.entity (entity, local_table, property_column) VALUES ('stays', 'stays', 'external_id');
INSERT INTO jacksync.entity (entity, local_table, urgency_column) VALUES ('stays', 'stays', 'urgent');
INSERT INTO jacksync.entity (entity, local_table, on_local_edit) VALUES ('stays', 'stays', 'refuse');
INSERT INTO jacksync.entity (entity, local_table, delete_guard) VALUES ('stays', 'stays', '{"counts": 1}');
INSERT INTO jacksync.entity (entity, local_table, delete_guard) VALUES ('stays', 'stays', '{"percent": 101}');
INSERT INTO jacksync.entity (entity, local_table, delete_guard) VALUES ('stays', 'stays', '[]');
-- the owner must see all rows, and only the owner may lend its rights
CREATE ROLE regress_jacksync_owner;
CREATE ROLE regress_jacksync_admin;
SELECT jacksync.grant_access('regress_jacksync_admin', 'admin');
ALTER TABLE forced OWNER TO regress_jacksync_owner;
ALTER TABLE forced ENABLE ROW LEVEL SECURITY;
ALTER TABLE forced FORCE ROW LEVEL SECURITY;
INSERT INTO jacksync.entity (entity, local_table) VALUES ('forced', 'forced');
ALTER TABLE forced NO FORCE ROW LEVEL SECURITY;
SET ROLE regress_jacksync_admin;
INSERT INTO jacksync.entity (entity, local_table) VALUES ('forced', 'forced');
RESET ROLE;

-- rules before their entity is bound
INSERT INTO jacksync.authority (entity, field, strategy) VALUES
	('stays', 'tags', 'merge'), ('stays', 'nights', 'merge');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'stays');
UPDATE jacksync.authority SET field = 'notes' WHERE entity = 'stays' AND field = 'nights';
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stays', 'stays'), ('parted', 'parted');
SELECT field FROM jacksync.field JOIN jacksync.entity USING (entity_id) WHERE entity = 'stays' ORDER BY 1;

-- authority
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', 'arrivalDate', 'pms_wins');
INSERT INTO jacksync.authority (entity, field, strategy, column_name) VALUES ('stays', 'arrivalDate', 'pms_wins', 'arriving');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', 'externalId', 'pms_wins');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', 'total', 'pms_wins');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', 'nights', 'merge');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', '*', 'merge');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('stays', 'guest.*', 'pms_wins');
INSERT INTO jacksync.authority (entity, field, strategy, column_name) VALUES ('stays', '*', 'pms_wins', 'notes');
INSERT INTO jacksync.authority (entity, field, strategy, unless_blank) VALUES ('stays', 'prefs', 'merge', true);
INSERT INTO jacksync.authority (entity, field, strategy, field_group) VALUES ('stays', 'prefs', 'merge', 'stay');
INSERT INTO jacksync.authority (entity, field, strategy, column_name) VALUES ('stays', 'labels', 'pms_wins', 'tags');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES
	('stays', 'prefs', 'merge'), ('stays', '*', 'pms_wins'), ('parted', 'remark', 'merge');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('parted', 'score', 'merge');
-- groups change together
INSERT INTO jacksync.authority (entity, field, strategy, field_group) VALUES
	('stays', 'arrival', 'latest_wins', 'stay'), ('stays', 'departure', 'latest_wins', 'stay');
INSERT INTO jacksync.authority (entity, field, strategy, field_group) VALUES ('stays', 'nights', 'pms_wins', 'stay');
UPDATE jacksync.authority SET strategy = 'manual' WHERE entity = 'stays' AND field = 'arrival';
UPDATE jacksync.authority SET strategy = 'manual' WHERE entity = 'stays' AND field_group = 'stay';
SELECT field FROM jacksync.field JOIN jacksync.entity USING (entity_id) WHERE entity = 'stays' ORDER BY 1;

-- stream
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stay', 'lodge', '{"path": "/s"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'nowhere', '{"path": "/s"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'other', '{"path": "/s"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '{}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '"/s"');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '{"path": "https://evil.example/"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '{"path": "/s", "methode": "GET"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '{"path": "/s", "method": "FETCH"}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'lodge', '{"path": "/s", "headers": {"X": "a\r\nb"}}');
INSERT INTO jacksync.stream (entity, server, request, sync_mode) VALUES ('stays', 'lodge', '{"path": "/s"}', 'delta');
INSERT INTO jacksync.stream (entity, server, request, fields) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"notes": "remark"}');
INSERT INTO jacksync.stream (entity, server, request, fields) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"notes": {"pathe": "$.a"}}');
INSERT INTO jacksync.stream (entity, server, request, fields) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"notes": {"path": "$.a", "paths": ["$.a"]}}');
INSERT INTO jacksync.stream (entity, server, request, paginator) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"type": "pages"}');
INSERT INTO jacksync.stream (entity, server, request, paginator) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"type": "cursor"}');
INSERT INTO jacksync.stream (entity, server, request, paginator) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"type": "offset", "page_size": 0}');
INSERT INTO jacksync.stream (entity, server, request, paginator) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"type": "next_url", "next_url_path": "$.["}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"updates": {}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"update": {"method": "PUT"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"update": {"path": "/s", "body_style": "xml"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read_before_write": true}');
-- operations that write
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"update": {"path": "/s"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": [{"path": "/s"}, {"path": "/s", "feilds": {}}]}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "fields": {"notes": 1}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "fields": {"notes": "$.list[*].text"}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "nulls": "never"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "when": {}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "success_path": "$.ok =="}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "body": {"id": "{record.id}"}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "update": {"path": "/s", "id_path": "$.id"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"create": {"path": "/s", "body_style": "replace"}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"create": {"path": "/s", "id_path": "$.["}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"create": {"path": "/s"}, "find": {"path": "/s", "query": {"all": true}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "delete": {"path": "/s", "when": {"status": "gone"}}}');
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('stays', 'lodge', '{"path": "/s"}', '{"read": {"path": "/s/{record.id}"}, "delete": {"path": "/s"}, "read_before_wriet": true}');
SELECT push, jacksync.stream_tier(push) FROM (VALUES
	('{"update": {}, "if_match": "etag", "idempotency_header": "Key"}'::jsonb), ('{"update": {}, "if_match": "etag"}'),
	('{"update": {}, "idempotency_header": "Key"}'), ('{"delete": {}}'), ('{"read": {}}'), (NULL)) AS v (push);
INSERT INTO jacksync.stream (entity, server, request, response_rules) VALUES ('stays', 'lodge', '{"path": "/s"}', '[{"status": 409, "action": "again"}]');
INSERT INTO jacksync.stream (entity, server, request, response_rules) VALUES ('stays', 'lodge', '{"path": "/s"}', '[{"status": "4xx", "action": "retry"}]');
INSERT INTO jacksync.stream (entity, server, request, poll_interval) VALUES ('stays', 'lodge', '{"path": "/s"}', '0');
INSERT INTO jacksync.stream (entity, server, request, lookback_window) VALUES ('stays', 'lodge', '{"path": "/s"}', '-1 s');
INSERT INTO jacksync.stream (entity, server, request, datetime_format) VALUES ('stays', 'lodge', '{"path": "/s"}', 'iso');
INSERT INTO jacksync.stream (entity, server, request, datetime_zone) VALUES ('stays', 'lodge', '{"path": "/s"}', 'Europe/Nowhere');
INSERT INTO jacksync.stream (entity, server, request, property_value) VALUES ('stays', 'lodge', '{"path": "/s"}', 'A');
INSERT INTO jacksync.stream (entity, server, request, fields, datetime_format, datetime_zone)
	VALUES ('stays', 'lodge', '{"path": "/s"}', '{"hotel": "$.property"}', 'YYYY-MM-DD HH24:MI:SS', 'Europe/Madrid');
SELECT count(*) AS states FROM jacksync.stream_state JOIN jacksync.stream USING (stream_id) WHERE entity = 'stays';
SELECT field FROM jacksync.field JOIN jacksync.entity USING (entity_id) WHERE entity = 'stays' AND field = 'hotel';
-- several servers
UPDATE jacksync.entity SET property_column = 'hotel' WHERE entity = 'stays';
INSERT INTO jacksync.stream (entity, server, request) VALUES ('stays', 'annex', '{"path": "/s"}');
UPDATE jacksync.stream SET property_value = 'L' WHERE server = 'lodge';
INSERT INTO jacksync.stream (entity, server, request, property_value) VALUES ('stays', 'annex', '{"path": "/s"}', 'L');
INSERT INTO jacksync.stream (entity, server, request, property_value) VALUES ('stays', 'annex', '{"path": "/s"}', 'A');

-- policies, thresholds, channels
INSERT INTO jacksync.stale_policy VALUES ('stays', '1 hour', '1 minute');
INSERT INTO jacksync.stale_policy VALUES ('stays', '-1 s', '1 minute');
INSERT INTO jacksync.stale_policy VALUES ('stays', '1 s', '1 minute', '{check_in,NULL}');
UPDATE jacksync.alert_threshold SET warning = 2.5 WHERE metric = 'consecutive_failures';
UPDATE jacksync.alert_threshold SET critical = 1 WHERE metric = 'consecutive_failures';
INSERT INTO jacksync.alert_threshold VALUES ('latency', 1, 2);
INSERT INTO jacksync.alert_channel (channel, type) VALUES ('c', 'sms');
INSERT INTO jacksync.alert_channel (channel, type, min_level) VALUES ('c', 'dashboard', 'error');
INSERT INTO jacksync.alert_channel (channel, type) VALUES ('c', 'slack');
INSERT INTO jacksync.alert_channel (channel, type, server) VALUES ('c', 'slack', 'nowhere');
INSERT INTO jacksync.alert_channel (channel, type, server) VALUES ('c', 'email', 'post');
INSERT INTO jacksync.alert_channel (channel, type, server, sender) VALUES ('c', 'email', 'post', 'a@b.c');
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients)
	VALUES ('c', 'email', 'post', 'a@b.c', ARRAY[E'ops@hotel.com\r\nBcc: all@hotel.com']);
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients)
	VALUES ('c', 'email', 'post', 'Ops <a@b.c>', '{ops@hotel.com}');
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients)
	VALUES ('c', 'email', 'post', 'a@b.c', '{ops@hotel.com,x.y+z@sub.hotel.com}');

-- an admin configures without any other right
ALTER TABLE parted OWNER TO regress_jacksync_admin;
GRANT USAGE ON FOREIGN SERVER annex, post TO regress_jacksync_admin;
DELETE FROM jacksync.entity WHERE entity = 'parted';
SET ROLE regress_jacksync_admin;
INSERT INTO jacksync.entity (entity, local_table) VALUES ('parted', 'parted');
UPDATE jacksync.authority SET rationale = 'guests say so' WHERE entity = 'parted';
INSERT INTO jacksync.stream (entity, server, request, push) VALUES ('parted', 'annex', '{"path": "/p"}',
	'{"read": {"path": "/p/{record.id}"}, "update": {"method": "PATCH", "path": "/p/{record.id}"}}');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('parted', 'lodge', '{"path": "/p"}');
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients)
	VALUES ('d', 'email', 'post', 'a@b.c', '{ops@hotel.com}');
INSERT INTO jacksync.operation_guard VALUES ('parted', 'x', '{remark}');
SELECT count(*) FROM jacksync.link;
RESET ROLE;

-- what the triggers of rows look after cannot be truncated
TRUNCATE jacksync.entity CASCADE;
TRUNCATE jacksync.stream;

DELETE FROM jacksync.entity;
SELECT count(*) FROM jacksync.stream_state;
SELECT count(*) FROM jacksync.field;
DELETE FROM jacksync.authority;
DELETE FROM jacksync.alert_channel;
DELETE FROM jacksync.operation_guard;
SELECT jacksync.revoke_access('regress_jacksync_admin');
REVOKE ALL ON FOREIGN SERVER annex FROM regress_jacksync_admin;
DROP SERVER lodge;
DROP SERVER annex;
DROP SERVER post;
DROP FOREIGN DATA WRAPPER regress_other CASCADE;
DROP VIEW stays_view;
DROP TABLE stays, nokey, deferred, forced, parted, temporary;
DROP DOMAIN remark;
DROP ROLE regress_jacksync_owner;
DROP ROLE regress_jacksync_admin;
