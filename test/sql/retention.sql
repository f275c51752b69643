-- what is kept for how long, and forgetting a person
SET client_min_messages = warning;
DELETE FROM jacksync.sync_error;
DELETE FROM jacksync.sync_run;
DELETE FROM jacksync.alert;
DELETE FROM jacksync.intent;
CREATE VIEW n AS SELECT (SELECT count(*) FROM jacksync.audit_log WHERE entity = 'old') AS audit, (SELECT count(*) FROM jacksync.sync_run) AS runs,
	(SELECT count(*) FROM jacksync.sync_error) AS errors, (SELECT count(*) FROM jacksync.alert) AS alerts;
INSERT INTO jacksync.audit_log (operation, entity, logged_at) SELECT 'sync', 'old', now() - i * interval '100 days' FROM generate_series(0, 9) i;
INSERT INTO jacksync.sync_run (entity, started) SELECT 'old', now() - i * interval '10 days' FROM generate_series(0, 9) i;
INSERT INTO jacksync.sync_error (entity, external_id, sqlstate, error, state, first_seen_at) VALUES
	('old', '1', '1', 'x', 'resolved', now() - interval '1 year'), ('old', '2', '1', 'x', 'dead', now() - interval '1 year');
SELECT jacksync.alert_raise('event', 'info', 'Old', 'x', NULL, NULL) > 0 AS a, jacksync.alert_raise('lasting', 'info', 'Old', 'x', NULL, NULL) > 0 AS b;
UPDATE jacksync.alert SET raised_at = now() - interval '1 year', resolved_at = resolved_at - interval '1 year';
SHOW jacksync.audit_retention;
SHOW jacksync.run_retention;
SELECT * FROM n;
SELECT jacksync.purge(2);
SELECT * FROM n;
SELECT jacksync.purge() > 0 AS more;
SELECT jacksync.purge();
SELECT * FROM n;
DELETE FROM jacksync.audit_log;
DELETE FROM jacksync.sync_error;
DELETE FROM jacksync.alert;

-- forget: nothing of the person is left, and she does not come back
CREATE TABLE people (id int PRIMARY KEY DEFAULT 1, external_id text, name text, phone text, note text CHECK (note <> 'bad'));
INSERT INTO jacksync.entity (entity, local_table) VALUES ('people', 'people');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('people', 'phone', 'manual'), ('people', 'name', 'pms_wins');
SELECT created FROM jacksync.apply('people', '[{"id": "P1", "name": "Secret Guest", "phone": "1"}]');
UPDATE people SET phone = 'secret phone', name = 'Secret Alias';
SELECT conflicts FROM jacksync.apply('people', '[{"id": "P1", "name": "Secret Guest 2", "phone": "2"}]');
SELECT errors FROM jacksync.apply('people', '[{"id": "P1", "note": "bad"}]');
SELECT count(*) FROM jacksync.audit_log WHERE entity = 'people' AND before_state::text ~ 'Secret';
SELECT jacksync.forget('people', 'P1');
DELETE FROM people;
SELECT (SELECT count(*) FROM jacksync.audit_log a WHERE a.entity = 'people' AND a::text ~* 'secret')
	+ (SELECT count(*) FROM jacksync.link l WHERE l::text ~* 'secret') + (SELECT count(*) FROM jacksync.manual_conflict m WHERE m::text ~* 'secret')
	+ (SELECT count(*) FROM jacksync.sync_error e WHERE e::text ~* 'secret') + (SELECT count(*) FROM jacksync.alert a WHERE a::text ~* 'secret') AS traces;
SELECT operation, field, before_state, after_state FROM jacksync.audit_log WHERE entity = 'people' ORDER BY audit_id;
SELECT external_id, deleted, snapshot FROM jacksync.record WHERE entity = 'people';
SELECT created, unchanged FROM jacksync.apply('people', '[{"id": "P1", "name": "Secret Guest 3", "phone": "3"}]');
SELECT count(*) FROM people;
\set VERBOSITY terse
SELECT jacksync.forget('people', 'P2');
DELETE FROM jacksync.entity;
DELETE FROM jacksync.authority;
DROP VIEW n;
DROP TABLE people;
