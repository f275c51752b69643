/* What is asked for in the wrong way, or of what is not there: each is refused, in words, and nothing changes */
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SERVER corner FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://corner.example');
CREATE SERVER edge FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://edge.example');
CREATE TABLE nook
(
	id			integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id	text,
	name		text,
	tags		text[],
	prefs		jsonb,
	beds		integer CHECK (beds > 0)
);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('nook', 'nook');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES
	('nook', 'name', 'manual'), ('nook', 'tags', 'merge'), ('nook', 'prefs', 'merge');
CREATE FUNCTION applied(records jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT format('created %s updated %s unchanged %s conflicts %s errors %s', created, updated, unchanged, conflicts, errors)
	FROM jacksync.apply('nook', records)
$$;

-- null where a value is needed
SELECT jacksync.apply(NULL, '[]');
SELECT jacksync.apply('nook', NULL);
SELECT jacksync.apply_page('nook', NULL);
SELECT jacksync.preview('nook', NULL);
SELECT jacksync.preview(NULL, '[]');
SELECT jacksync.preview('attic', '[]');
SELECT 'a failed preview leaves the session as it was' AS session;
SELECT jacksync.detect_conflict('nook', NULL);
SELECT jacksync.resolve(NULL, '1', '2', '3');
SELECT jacksync.resolve_conflict(NULL, 'pms');
SELECT jacksync.resolve_conflict(1, NULL);
SELECT jacksync.reconcile(NULL);
SELECT jacksync.preview_stream(NULL);
CALL jacksync.check_stream(NULL);

-- of another shape
SELECT jacksync.apply('nook', '"N1"');
SELECT jacksync.preview('nook', '{"id": "N1"}');
SELECT jacksync.changed_fields('[]', '{}');
SELECT jacksync.changed_fields('{}', '1');
SELECT jacksync.changed_fields(NULL, NULL);
SELECT jacksync.changed_fields('{"a": 1, "b": 2}', NULL);
SELECT jacksync.merge(NULL, NULL, NULL), jacksync.merge('null', NULL, NULL), jacksync.merge(NULL, '[1]', NULL);
SELECT jacksync.merge((repeat('[', 2000) || repeat(']', 2000))::jsonb, '[1]', '[]') = '[1]' AS merged;
SELECT jacksync.resolve_conflict(1, 'both');
SELECT jacksync.resolve_conflict(1, 'pms', '"x"');
SELECT jacksync.resolve_conflict(1, 'custom');
SELECT jacksync.resolve_conflicts('nook', 'name', 'custom');

-- of what is not there
SELECT jacksync.resolve_conflict(-1, 'pms');
SELECT jacksync.undo(-1);
SELECT jacksync.requeue(-1);
SELECT jacksync.discard(-1, 'no longer wanted');
SELECT jacksync.discard(-1, '');
SELECT jacksync.release_deletes('nook');
SELECT jacksync.reject_deletes('nook', 'corner');
SELECT jacksync.sync_now('nook');
SELECT jacksync.pause('nook', 'corner');
SELECT jacksync.resume('attic');
SELECT jacksync.resync('nook');
SELECT jacksync.resync(NULL);
SELECT jacksync.reconcile('nook');
SELECT jacksync.preview_stream('nook');
SELECT jacksync.preview_stream('attic');
CALL jacksync.sync('nook', 'corner');
CALL jacksync.push('attic');
SELECT jacksync.apply('attic', '[]');
SELECT jacksync.apply('nook', '[]', 'corner');
SELECT jacksync.grant_access('regress_jacksync_nobody'::regrole, 'reader');
SELECT jacksync.grant_access(0::regrole, 'reader');
SELECT jacksync.grant_access(current_user::regrole, 'owner');

-- which of two servers
INSERT INTO jacksync.stream (entity, server, request) VALUES
	('nook', 'corner', '{"path": "/nooks"}'), ('nook', 'edge', '{"path": "/nooks"}');
SELECT jacksync.apply('nook', '[]');
SELECT jacksync.preview_stream('nook');
SELECT jacksync.resync('nook', 'N1', 'edge');
DELETE FROM jacksync.stream WHERE entity = 'nook';

-- secrets and paths that cannot be used are told before anything is sent
CREATE SERVER vault FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://vault.invalid', auth 'bearer');
CREATE USER MAPPING FOR CURRENT_USER SERVER vault OPTIONS (token 'file:/');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('nook', 'vault', '{"path": "/{secret.floor}/nooks"}');
SELECT jacksync.preview_stream('nook');
ALTER USER MAPPING FOR CURRENT_USER SERVER vault OPTIONS (SET token 'file:/nonexistent/token');
SELECT jacksync.preview_stream('nook');
ALTER USER MAPPING FOR CURRENT_USER SERVER vault OPTIONS (SET token 'file');
SELECT jacksync.preview_stream('nook');
ALTER USER MAPPING FOR CURRENT_USER SERVER vault OPTIONS (ADD secret_floor '..');
SELECT jacksync.preview_stream('nook');
UPDATE jacksync.stream SET sync_mode = 'event_queue', request = '{"path": "/queue"}' WHERE entity = 'nook';
SELECT jacksync.preview_stream('nook');
DELETE FROM jacksync.stream WHERE entity = 'nook';
DROP SERVER vault CASCADE;

-- two rows with one id: no guess is made
INSERT INTO nook (external_id, name) VALUES ('N1', 'a'), ('N1', 'b');
SELECT applied('[{"id": "N1", "name": "c"}, {"id": "N2", "name": "d"}]');
SELECT external_id, sqlstate, error FROM jacksync.sync_error WHERE entity = 'nook' AND state IN ('retry', 'dead') ORDER BY 1;
DELETE FROM nook WHERE name = 'b';
-- adopted now, so that nothing is open about it
SELECT applied('[{"id": "N1", "name": "a"}]');
SELECT count(*) FROM jacksync.sync_error WHERE entity = 'nook' AND state IN ('retry', 'dead');

-- a row that was given the id of another record
UPDATE nook SET external_id = 'N3' WHERE external_id = 'N1';
SELECT applied('[{"id": "N3", "name": "third"}]');
SELECT external_id, sqlstate, regexp_replace(error, 'row \d+', 'row n') FROM jacksync.sync_error
WHERE entity = 'nook' AND state IN ('retry', 'dead') ORDER BY 1;
UPDATE nook SET external_id = 'N1' WHERE external_id = 'N3';
SELECT applied('[{"id": "N3", "name": "third"}]');
SELECT external_id, name FROM nook ORDER BY 1;

-- the user's triggers may suppress what jacksync writes: an error, never taken for done
CREATE FUNCTION suppress() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER suppress BEFORE INSERT OR UPDATE ON nook FOR EACH ROW EXECUTE FUNCTION suppress();
SELECT applied('[{"id": "N4", "name": "new"}, {"id": "N2", "tags": ["x"]}]');
SELECT external_id, sqlstate, regexp_replace(error, 'row \d+', 'row n') FROM jacksync.sync_error
WHERE entity = 'nook' AND state IN ('retry', 'dead') ORDER BY 1;
DROP TRIGGER suppress ON nook;
SELECT applied('[{"id": "N4", "name": "new"}, {"id": "N2", "tags": ["x"]}]');
SELECT external_id, name, tags FROM nook ORDER BY 1;
SELECT count(*) FROM jacksync.sync_error WHERE entity = 'nook' AND state IN ('retry', 'dead');

-- what failed and is deleted by the PMS then is not tried again, be it known or not
INSERT INTO jacksync.stream (entity, server, request, deleted_path) VALUES
	('nook', 'corner', '{"path": "/nooks"}', '$.gone == true');
SELECT created, errors FROM jacksync.apply('nook', '[{"id": "N5", "beds": 0}, {"id": "N6", "beds": 1}]', 'corner');
SELECT updated, errors FROM jacksync.apply('nook', '[{"id": "N6", "beds": 0}]', 'corner');
SELECT external_id, sqlstate, state FROM jacksync.sync_error WHERE entity = 'nook' AND external_id IN ('N5', 'N6') ORDER BY 1;
SELECT updated, unchanged, errors FROM jacksync.apply('nook', '[{"id": "N5", "gone": true}, {"id": "N6", "gone": true}]', 'corner');
SELECT external_id, sqlstate, state FROM jacksync.sync_error WHERE entity = 'nook' AND external_id IN ('N5', 'N6') ORDER BY 1;
DELETE FROM jacksync.stream WHERE entity = 'nook';

-- a decision is made once; if its write is suppressed, it is not made
UPDATE nook SET name = 'ours' WHERE external_id = 'N2';
SELECT applied('[{"id": "N2", "name": "theirs"}]');
SELECT conflict_id AS conflict FROM jacksync.open_conflict WHERE entity = 'nook' \gset
CREATE TRIGGER suppress BEFORE INSERT OR UPDATE ON nook FOR EACH ROW EXECUTE FUNCTION suppress();
DO $$
BEGIN
	PERFORM jacksync.resolve_conflict(conflict_id, 'pms') FROM jacksync.open_conflict WHERE entity = 'nook';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', SQLSTATE, regexp_replace(SQLERRM, 'row \d+', 'row n');
END
$$;
SELECT count(*) AS open FROM jacksync.open_conflict WHERE entity = 'nook';
DROP TRIGGER suppress ON nook;
SELECT jacksync.resolve_conflict(:conflict, 'pms');
SELECT name FROM nook WHERE external_id = 'N2';
DO $$
BEGIN
	PERFORM jacksync.resolve_conflict(conflict_id, 'local') FROM jacksync.manual_conflict WHERE entity = 'nook';
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', SQLSTATE, regexp_replace(SQLERRM, '\d+', 'n');
END
$$;
-- taken back once; twice there is nothing to take back
DO $$
DECLARE
	audit	bigint;
BEGIN
	SELECT max(audit_id) INTO audit FROM jacksync.audit_log WHERE entity = 'nook' AND field = 'name';
	PERFORM jacksync.undo(audit);
	RAISE WARNING 'name is %', (SELECT name FROM nook WHERE external_id = 'N2');
	PERFORM jacksync.undo(audit);
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', SQLSTATE, regexp_replace(SQLERRM, '\d+', 'n');
END
$$;
-- no decision
DO $$
DECLARE
	audit	bigint;
BEGIN
	INSERT INTO jacksync.audit_log (operation, entity, resolved_by) VALUES ('manual_override', 'nook', 'regress')
		RETURNING audit_id INTO audit;
	PERFORM jacksync.undo(audit);
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING '%: %', SQLSTATE, regexp_replace(SQLERRM, '\d+', 'n');
END
$$;
-- the functions of triggers are for jacksync's own
CREATE TABLE foreign_trigger (id integer PRIMARY KEY);
CREATE TRIGGER wrong BEFORE INSERT ON foreign_trigger FOR EACH ROW EXECUTE FUNCTION jacksync.capture('1');
INSERT INTO foreign_trigger VALUES (1);
DROP TRIGGER wrong ON foreign_trigger;
CREATE TRIGGER wrong AFTER INSERT ON foreign_trigger FOR EACH ROW EXECUTE FUNCTION jacksync.capture();
INSERT INTO foreign_trigger VALUES (1);
DROP TRIGGER wrong ON foreign_trigger;
CREATE TRIGGER wrong AFTER INSERT ON foreign_trigger FOR EACH ROW EXECUTE FUNCTION jacksync.capture('-1');
INSERT INTO foreign_trigger VALUES (1);
DROP TABLE foreign_trigger;

-- clean
DELETE FROM jacksync.entity WHERE entity = 'nook';
DELETE FROM jacksync.manual_conflict WHERE entity = 'nook';
DELETE FROM jacksync.sync_error WHERE entity = 'nook';
DELETE FROM jacksync.sync_run WHERE entity = 'nook';
DELETE FROM jacksync.alert WHERE entity = 'nook';
DROP TABLE nook;
DROP FUNCTION applied, suppress;
DROP SERVER corner, edge;
