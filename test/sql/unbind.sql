-- What becomes of things that wait when their table is unbound, and what a
-- copied database is told.
SET client_min_messages = warning;
CREATE TABLE leaving (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text, a text, n integer);
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('leaving', 'a', 'manual');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('leaving', 'leaving');
SELECT created FROM jacksync.apply('leaving', '[{"id": "1", "a": "x", "n": 1}]');
UPDATE leaving SET a = 'ours';
SELECT conflicts, errors FROM jacksync.apply('leaving', '[{"id": "1", "a": "theirs"}, {"id": "2", "n": "no number"}]');
SELECT status, resolved_by FROM jacksync.manual_conflict WHERE entity = 'leaving';
SELECT state FROM jacksync.sync_error WHERE entity = 'leaving';
SELECT count(*) FROM jacksync.alert WHERE entity = 'leaving' AND resolved_at IS NULL;
DELETE FROM jacksync.entity WHERE entity = 'leaving';
SELECT status, resolved_by, resolution, reason FROM jacksync.manual_conflict WHERE entity = 'leaving';
SELECT state, reason FROM jacksync.sync_error WHERE entity = 'leaving';
SELECT count(*) FROM jacksync.alert WHERE entity = 'leaving' AND resolved_at IS NULL;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'leaving'::regclass;
-- a copy is held, and told so
INSERT INTO jacksync.installation (system_identifier, database_oid) VALUES (42, 42)
	ON CONFLICT (singleton) DO UPDATE SET system_identifier = 42;
SELECT status, message, hint FROM jacksync.diagnose() WHERE check_name = 'copy';
SELECT jacksync.adopt();
SELECT count(*) FROM jacksync.diagnose() WHERE check_name = 'copy';
DELETE FROM jacksync.authority WHERE entity = 'leaving';
DELETE FROM jacksync.sync_error WHERE entity = 'leaving';
DELETE FROM jacksync.manual_conflict WHERE entity = 'leaving';
DELETE FROM jacksync.alert WHERE entity = 'leaving';
DELETE FROM jacksync.installation;
DROP TABLE leaving;
