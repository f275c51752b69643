-- alerts: raised once, raised in level, repeated, over
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE rooms (id int PRIMARY KEY, external_id text);
CREATE SERVER inn FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://inn.example');
CREATE SERVER post FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://post.example');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('rooms', 'rooms');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('rooms', 'inn', '{"path": "/rooms"}');
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients, min_level) VALUES
	('ops', 'email', 'post', 'jacksync@hotel.com', '{ops@hotel.com}', 'warning'),
	('chat', 'slack', 'inn', NULL, '{}', 'critical'),
	('desk', 'dashboard', NULL, NULL, '{}', 'warning'),
	('log', 'webhook', 'inn', NULL, '{}', 'info');

CREATE VIEW alerts AS
	SELECT dense_rank() OVER (ORDER BY alert_id) AS n, kind, level, title, message, count,
		resolved_at IS NOT NULL AS over
	FROM jacksync.alert ORDER BY alert_id;
CREATE VIEW outbox AS
	SELECT dense_rank() OVER (ORDER BY a.alert_id) AS n, a.title, d.channel, d.reason, d.state
	FROM jacksync.alert_delivery d JOIN jacksync.alert a USING (alert_id) ORDER BY d.alert_id, d.channel;
CREATE FUNCTION delivered() RETURNS void LANGUAGE sql AS
$$ UPDATE jacksync.alert_delivery SET state = 'delivered', delivered_at = clock_timestamp() WHERE state = 'pending' $$;

-- one failure, and the end of it: noted, and nobody is told
SELECT jacksync.alert_run('rooms', 'inn', 1, 0, 'could not connect');
TABLE alerts;
SELECT jacksync.alert_run('rooms', 'inn', 0, 1, NULL);
TABLE alerts;
TABLE outbox;
DELETE FROM jacksync.alert;

-- three, four, five, six failures
SELECT jacksync.alert_run('rooms', 'inn', n, n - 1, 'could not connect') FROM generate_series(1, 3) AS n;
TABLE alerts;
TABLE outbox;
SELECT delivered();
SELECT raised_at AS raised FROM jacksync.alert \gset
SELECT jacksync.alert_run('rooms', 'inn', 4, 3, E'answer:\r\n\tBcc: all@example.com\u202e');
TABLE alerts;
SELECT context, raised_at = :'raised' AS same FROM jacksync.alert;
SELECT DISTINCT state FROM outbox;
SELECT jacksync.alert_run('rooms', 'inn', n, n - 1, 'could not connect') FROM generate_series(5, 6) AS n;
TABLE alerts;
SELECT raised_at > :'raised' AS later FROM jacksync.alert;
TABLE outbox;
UPDATE jacksync.stream_state SET failure_count = 6, last_error = 'could not connect';
SELECT status, message, failure_count, banner FROM jacksync.status;
-- again, when it lasts
SELECT delivered();
SELECT jacksync.alert_repeat();
SELECT DISTINCT state FROM outbox;
UPDATE jacksync.alert_delivery SET delivered_at = delivered_at - interval '241 min' WHERE channel <> 'chat';
SELECT jacksync.alert_repeat();
TABLE outbox;
-- over
SELECT jacksync.alert_run('rooms', 'inn', 0, 6, NULL);
UPDATE jacksync.stream_state SET failure_count = 0, last_error = NULL, last_sync_at = now();
TABLE alerts;
TABLE outbox;
SELECT status, message, failure_count, banner FROM jacksync.status;
DELETE FROM jacksync.alert;

-- exactly at the numbers of the texts, and with other thresholds
UPDATE jacksync.alert_threshold SET warning = 2, critical = 2 WHERE metric = 'consecutive_failures';
SELECT jacksync.alert_run('rooms', 'inn', 2, 1, 'x');
SELECT jacksync.alert_run('rooms', 'inn', 0, 2, NULL);
TABLE alerts;
DELETE FROM jacksync.alert;
UPDATE jacksync.alert_threshold SET warning = 3, critical = 5 WHERE metric = 'consecutive_failures';

-- stale data: nothing before the first sync, then a warning, critical, and over
UPDATE jacksync.stream_state SET last_sync_at = NULL;
SELECT jacksync.alert_stale();
TABLE alerts;
UPDATE jacksync.stream_state SET last_sync_at = now() - interval '7 min';
SELECT jacksync.alert_stale();
SELECT jacksync.alert_stale();
TABLE alerts;
UPDATE jacksync.stream_state SET last_sync_at = now() - interval '75 min';
SELECT jacksync.alert_stale();
SELECT jacksync.alert_stale();
TABLE alerts;
UPDATE jacksync.stream_state SET last_sync_at = now() - interval '3 hours';
SELECT jacksync.alert_stale();
SELECT banner FROM jacksync.status;
UPDATE jacksync.stream_state SET last_sync_at = now();
SELECT jacksync.alert_stale();
TABLE alerts;
TABLE outbox;
DELETE FROM jacksync.alert;
-- what is switched off is not late
UPDATE jacksync.stream_state SET last_sync_at = now() - interval '75 min';
SELECT jacksync.alert_stale();
UPDATE jacksync.stream SET enabled = false;
SELECT jacksync.alert_stale();
TABLE alerts;
UPDATE jacksync.stream SET enabled = true;
DELETE FROM jacksync.alert;

-- conflicts: one alert per record, closed with its last field
INSERT INTO jacksync.manual_conflict (record_id, entity, server, external_id, local_id, field) VALUES
	(-1, 'rooms', 'inn', E'R-101\n', '1', 'status'), (-1, 'rooms', 'inn', E'R-101\n', '1', 'rate'),
	(-2, 'rooms', 'inn', NULL, '2', 'status');
SELECT jacksync.alert_conflict(conflict_id) FROM jacksync.manual_conflict WHERE record_id < 0 ORDER BY conflict_id;
TABLE alerts;
SELECT context - 'conflict_id' AS context FROM jacksync.alert ORDER BY alert_id;
UPDATE jacksync.manual_conflict SET status = 'resolved' WHERE record_id = -1 AND field = 'status';
SELECT jacksync.alert_conflict_closed(conflict_id) FROM jacksync.manual_conflict WHERE record_id = -1 AND field = 'status';
SELECT n, over FROM alerts;
UPDATE jacksync.manual_conflict SET status = 'resolved' WHERE record_id < 0;
SELECT count(jacksync.alert_conflict_closed(conflict_id)) FROM jacksync.manual_conflict WHERE record_id < 0 AND field <> 'x';
SELECT n, over FROM alerts;
DELETE FROM jacksync.alert;
-- a storm does not flood the channels
INSERT INTO jacksync.manual_conflict (record_id, entity, server, external_id, field)
	SELECT -100 - i, 'rooms', 'inn', 'S-' || i, 'status' FROM generate_series(1, 100) AS i;
SELECT count(jacksync.alert_conflict(conflict_id)) FROM jacksync.manual_conflict WHERE record_id < -100;
SELECT kind LIKE 'conflict:%' AS conflict, count(DISTINCT alert_id) AS alerts, count(channel) AS mails
FROM jacksync.alert LEFT JOIN jacksync.alert_delivery d USING (alert_id)
WHERE channel = 'ops' OR channel IS NULL GROUP BY 1 ORDER BY 1;
UPDATE jacksync.manual_conflict SET status = 'resolved' WHERE record_id < 0;
UPDATE jacksync.stream_state SET last_sync_at = now();
SELECT jacksync.alert_stale();
SELECT title, resolved_at IS NOT NULL AS over FROM jacksync.alert WHERE kind = 'many_conflicts';
DELETE FROM jacksync.alert;
DELETE FROM jacksync.manual_conflict WHERE record_id < 0;

-- what goes out is not too long for NOTIFY, and one line
SELECT jacksync.alert_raise('event', 'info', 'A title', repeat('"€', 4000), 'rooms', 'inn') > 0 AS notified;
SELECT jacksync.clean_text(E' a\u0001\r\n b\u0085\u2028c ', 5), jacksync.clean_text(NULL);

-- a message: an alert alone, or many as one; an outcome; what changed meanwhile is sent again
\set VERBOSITY terse
CREATE SERVER relay FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://mail.example');
CREATE SERVER web FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://web.example');
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients) VALUES ('m', 'email', 'web', 'a@b.c', '{a@b.c}');
INSERT INTO jacksync.alert_channel (channel, type, server) VALUES ('m', 'webhook', 'relay');
DELETE FROM jacksync.alert_channel;
INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients) VALUES ('m', 'email', 'relay', 'a@b.c', '{a@b.c}');
SELECT jacksync.alert_raise('a', 'warning', E'Title\r\nBcc: x', 'Words <!channel> & more', 'rooms', 'inn', '{"error": "HTTP 503"}') AS a \gset
SELECT channel, type, subject, regexp_replace(body, '\d{4}-\d\d-\d\d [\d:]+', 'TIME') AS body FROM jacksync.delivery_claim();
SELECT channel IS NULL AS none FROM jacksync.delivery_claim();
SELECT state, attempts, next_attempt_at > now() AS later FROM jacksync.alert_delivery;
SELECT jacksync.delivery_done('m', ARRAY[:a], E'no\nway', false);
SELECT state, last_error FROM jacksync.alert_delivery;
SELECT jacksync.delivery_due() > now() AS later;
UPDATE jacksync.alert_delivery SET next_attempt_at = now();
SELECT subject FROM jacksync.delivery_claim();
SELECT jacksync.alert_raise('a', 'critical', 'Title', 'Worse', 'rooms', 'inn') = :a AS same;
SELECT jacksync.delivery_done('m', ARRAY[:a], NULL, false);
SELECT state, attempts FROM jacksync.alert_delivery;
SELECT subject FROM jacksync.delivery_claim();
SELECT jacksync.delivery_done('m', ARRAY[:a], NULL, false);
SELECT jacksync.alert_resolve('a', 'rooms', 'inn');
SELECT subject FROM jacksync.delivery_claim();
SELECT jacksync.delivery_done('m', ARRAY[:a], 'for good', true);
SELECT state, last_error FROM jacksync.alert_delivery;
SELECT jacksync.alert_raise('b' || i, CASE i WHEN 7 THEN 'critical' ELSE 'warning' END, 'B' || i, 'b', 'rooms', 'inn') > 0 FROM generate_series(6, 9) i;
SELECT subject, body, cardinality(alerts) FROM jacksync.delivery_claim();
UPDATE jacksync.alert_channel SET type = 'slack', server = 'web', enabled = true;
SELECT jacksync.alert_raise('c', 'warning', 'C', '<!channel> & <@U1> <http://x|y>', NULL, NULL) > 0;
SELECT payload ->> 'text' ~ '&lt;!channel&gt; &amp; &lt;@U1&gt; &lt;http://x|y&gt;' AS inert, payload - 'text' AS rest FROM jacksync.delivery_claim();
-- dead letters, and a worker that was away
INSERT INTO jacksync.sync_error (entity, server, external_id, sqlstate, error, state) VALUES ('rooms', 'inn', 'D1', '22P02', 'x', 'dead');
SELECT jacksync.alert_dead_letters(), jacksync.alert_dead_letters();
SELECT level, title, message, context, count FROM jacksync.alert WHERE kind = 'dead_letters';
DELETE FROM jacksync.sync_error;
SELECT jacksync.alert_dead_letters();
SELECT resolved_at IS NOT NULL AS over FROM jacksync.alert WHERE kind = 'dead_letters';
INSERT INTO jacksync.worker (pid, heartbeat, library_version) VALUES (-1, now() - interval '42 min', '0');
SELECT jacksync.alert_worker_back();
DELETE FROM jacksync.worker;
SELECT level, message FROM jacksync.alert WHERE title = 'PMS Sync Worker Was Down';
-- maintenance windows: in the hotel's time, over midnight, on their days
INSERT INTO jacksync.maintenance_window (server, starts, ends, zone, weekdays) VALUES
	('inn', '23:30', '02:00', 'Europe/Vienna', '{5}'), ('inn', '12:00', '12:30', 'America/New_York', DEFAULT);
SELECT t, jacksync.in_maintenance('inn', t::timestamptz) FROM unnest('{2026-11-27 22:29+00, 2026-11-27 22:30+00, 2026-11-28 00:59+00,
	2026-11-28 01:00+00, 2026-11-26 22:30+00, 2026-11-27 00:30+00, 2026-07-01 16:00+00, 2026-12-01 17:00+00, 2026-12-01 16:00+00}'::text[]) t;
SELECT jacksync.in_maintenance('relay', '2026-11-27 22:30+00');
INSERT INTO jacksync.maintenance_window (server, starts, ends) VALUES ('nowhere', '1:00', '2:00');
INSERT INTO jacksync.maintenance_window (server, starts, ends) VALUES ('inn', '1:00', '1:00');
INSERT INTO jacksync.maintenance_window (server, starts, ends, zone) VALUES ('inn', '1:00', '2:00', 'Mars/Base');
INSERT INTO jacksync.maintenance_window (server, starts, ends, weekdays) VALUES ('inn', '1:00', '2:00', '{0}');
DELETE FROM jacksync.alert;
DELETE FROM jacksync.maintenance_window WHERE starts = '12:00';
UPDATE jacksync.maintenance_window SET starts = '00:00', ends = '23:59:59.999999', zone = 'UTC', weekdays = '{1,2,3,4,5,6,7}';
SELECT jacksync.alert_run('rooms', 'inn', 5, 4, 'night audit');
UPDATE jacksync.stream_state SET last_sync_at = now() - interval '1 day';
SELECT jacksync.alert_stale();
SELECT count(*) FROM jacksync.alert;
SELECT message FROM jacksync.status WHERE server = 'inn';
DELETE FROM jacksync.maintenance_window;
SELECT jacksync.alert_run('rooms', 'inn', 5, 4, 'no night audit');
SELECT count(*) FROM jacksync.alert;
-- silence
SELECT jacksync.silence_alerts(NULL);
SELECT jacksync.silence_alerts('-1 s');
SELECT jacksync.silence_alerts('1 hour', 'rooms') > 0 AS silenced;
SELECT jacksync.is_silenced(a) FROM jacksync.alert a;
SELECT channel IS NULL AS nothing FROM jacksync.delivery_claim();
SELECT jacksync.silence_alerts('0', 'rooms');
SELECT count(*) FROM jacksync.alert_silence;
SELECT jacksync.test_channel('nothing');
UPDATE jacksync.alert_channel SET enabled = false;
SELECT jacksync.test_channel('m');

DELETE FROM jacksync.alert;
DELETE FROM jacksync.alert_channel;
DELETE FROM jacksync.entity;
DROP VIEW alerts, outbox;
DROP FUNCTION delivered();
DROP SERVER inn;
DROP SERVER post;
DROP SERVER relay;
DROP SERVER web;
DROP TABLE rooms;
