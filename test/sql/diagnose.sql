-- diagnose(): every finding comes, says what to do, and goes
SET client_min_messages = warning;
DELETE FROM jacksync.sync_error;
DELETE FROM jacksync.manual_conflict;
DELETE FROM jacksync.alert;
DELETE FROM jacksync.sync_run;
CREATE VIEW d AS SELECT check_name, status, subject, regexp_replace(message, '\d+ (second|minute)s?|OID \d+', 'N', 'g') AS message, hint FROM jacksync.diagnose()
	WHERE check_name NOT IN ('worker', 'setting') AND NOT (check_name = 'alerts' AND subject = 'channels');
SELECT check_name, status, message, hint ~ 'start_worker|ALTER SYSTEM|log' AS hint FROM jacksync.diagnose() WHERE check_name = 'worker';
SELECT * FROM d;
CREATE TABLE dia (id int PRIMARY KEY, external_id text, name text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('dia', 'dia');
SELECT * FROM d WHERE status <> 'ok';
CREATE SERVER clinic FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://clinic.example', auth 'bearer');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('dia', 'name', 'merge');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('dia', 'clinic', '{"path": "/"}');
SELECT * FROM d WHERE status <> 'ok';
CREATE USER MAPPING FOR PUBLIC SERVER clinic OPTIONS (token 'x');
UPDATE jacksync.authority SET push = false;
UPDATE jacksync.stream_state SET last_sync_at = now();
SELECT * FROM d WHERE status <> 'ok';
ALTER TABLE dia DISABLE TRIGGER zz_jacksync_capture;
ALTER TABLE dia ENABLE REPLICA TRIGGER zz_jacksync_truncate;
ALTER TABLE dia RENAME name TO guest;
UPDATE jacksync.stream_state SET failure_count = 5, last_error = 'HTTP 503', skew = '-2 min';
INSERT INTO jacksync.sync_error (entity, server, external_id, sqlstate, error, state, first_seen_at) VALUES
	('dia', 'clinic', '1', '22P02', 'x', 'dead', now()), ('dia', 'clinic', '2', '22P02', 'x', 'retry', now()),
	('dia', 'clinic', '3', '55P03', 'x', 'waiting', now() - interval '10 min');
INSERT INTO jacksync.manual_conflict (record_id, entity, server, external_id, field, detected_at) VALUES (-1, 'dia', 'clinic', '1', 'name', now());
INSERT INTO jacksync.pending_delete (stream_id, external_id, payload, tick, state) SELECT stream_id, '1', '{}', 0, 'held' FROM jacksync.stream;
INSERT INTO jacksync.intent (record_id, stream_id, operation, changes, claimed_at) SELECT -1, stream_id, 'update', '{}', now() - interval '1 h' FROM jacksync.stream;
INSERT INTO jacksync.change SELECT 0, now() - interval '20 min', entity_id, 'u', true, '1' FROM jacksync.entity;
SELECT * FROM d WHERE status <> 'ok';
-- every record that is late, and why
INSERT INTO jacksync.link (entity_id, stream_id, external_id, local_id, state, dirty, waiting, conflict, failed, must_pull, intent_id, next_push_at, local_updated_at, last_sync_at)
	SELECT e.entity_id, s.stream_id, 'L' || v.n, 'l' || v.n, 'l', v.dirty, v.waiting, v.conflict, v.failed, false, v.intent, v.pause, now() - interval '1 h', now()
	FROM jacksync.entity e, jacksync.stream s, (VALUES
		(1, true, true, false, false, 1::bigint, NULL::timestamptz), (2, true, true, false, true, NULL, NULL), (3, false, false, true, false, NULL, NULL),
		(4, true, true, false, false, NULL, NULL), (5, false, true, false, false, NULL, NULL),
		(6, true, true, false, false, NULL, now() + interval '1 h'), (7, false, false, false, false, NULL, NULL)
	) AS v (n, dirty, waiting, conflict, failed, intent, pause);
CREATE VIEW st AS SELECT external_id, local_id, regexp_replace(regexp_replace(reason, '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d', 'T'), 'ows?: \d+$', 'ow: N') AS reason,
	cardinality(blocking_pids) AS pids FROM jacksync.stuck;
SELECT * FROM st ORDER BY local_id, external_id;
UPDATE jacksync.stream_state SET failure_count = 0, initial_done = true;
UPDATE jacksync.stream SET push = '{"read": {"path": "/{record.id}"}, "update": {"method": "PATCH", "path": "/{record.id}", "body": "{changes}"}}';
SELECT * FROM st WHERE local_id ~ '^l[456]' ORDER BY local_id;
SELECT jacksync.pause('dia');
SELECT * FROM st WHERE local_id ~ '^l[4]' ORDER BY local_id;
SELECT * FROM d WHERE check_name = 'paused';
DELETE FROM jacksync.link;
-- triggers: what diagnose() says can be pasted
CREATE FUNCTION mend() RETURNS SETOF text LANGUAGE plpgsql AS $$ DECLARE h text; BEGIN
	FOR h IN SELECT DISTINCT hint FROM d WHERE check_name IN ('trigger', 'rights', 'replica') AND status <> 'ok' LOOP EXECUTE h; RETURN NEXT h; END LOOP; END $$;
SELECT mend();
SELECT * FROM d WHERE check_name = 'trigger';
DROP TRIGGER zz_jacksync_capture ON dia;
SELECT * FROM d WHERE check_name = 'trigger';
CREATE TRIGGER zz_jacksync_capture BEFORE UPDATE ON dia FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT * FROM d WHERE check_name = 'trigger';
SELECT mend();
SELECT * FROM d WHERE check_name = 'trigger';
-- rights, and a role that writes unseen
CREATE ROLE regress_jacksync_poor;
CREATE SCHEMA dia_closed;
ALTER TABLE dia SET SCHEMA dia_closed;
ALTER TABLE dia_closed.dia OWNER TO regress_jacksync_poor;
REVOKE UPDATE, INSERT ON dia_closed.dia FROM regress_jacksync_poor;
ALTER ROLE regress_jacksync_poor SET session_replication_role = replica;
SELECT * FROM d WHERE check_name IN ('rights', 'replica');
SELECT count(*) FROM mend();
SELECT * FROM d WHERE check_name IN ('rights', 'replica');
ALTER TABLE dia_closed.dia OWNER TO CURRENT_USER;
ALTER TABLE dia_closed.dia SET SCHEMA public;
DROP SCHEMA dia_closed;
DROP ROLE regress_jacksync_poor;
DROP FUNCTION mend();
DROP TABLE dia;
SELECT * FROM d WHERE check_name = 'table';
DELETE FROM jacksync.intent;
DELETE FROM jacksync.pending_delete;
DELETE FROM jacksync.manual_conflict;
DELETE FROM jacksync.sync_error;
INSERT INTO jacksync.sync_run (entity, server, success, records_processed, created) VALUES ('dia', 'clinic', true, 5, 2), ('dia', 'clinic', false, 1, 0);
SELECT entity, server, runs, failed_runs, records_processed, created FROM jacksync.stat;
DELETE FROM jacksync.sync_run;
DELETE FROM jacksync.entity;
DELETE FROM jacksync.authority;
SELECT * FROM d WHERE status <> 'ok';
-- help(): from nothing to a table in sync
SELECT step, done, what FROM jacksync.help();
CREATE TABLE helped (id int PRIMARY KEY, external_id text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('helped', 'helped');
SELECT step, done, sql FROM jacksync.help() WHERE step IN (1, 2, 3, 5);
DELETE FROM jacksync.entity;
DROP TABLE helped;
-- readers may ask, and see no secrets
CREATE ROLE regress_jacksync_asker;
SELECT jacksync.grant_access('regress_jacksync_asker', 'reader');
SET ROLE regress_jacksync_asker;
SELECT count(*) > 5 AS answers FROM jacksync.diagnose();
RESET ROLE;
SELECT jacksync.revoke_access('regress_jacksync_asker');
DROP ROLE regress_jacksync_asker;
DROP VIEW d, st;
DROP SERVER clinic CASCADE;
