/*
 * What the ledger found: each was a loss, or worse, once.
 */
CREATE TABLE lodgings (id integer PRIMARY KEY, external_id text UNIQUE, name text);
INSERT INTO jacksync.entity (entity, local_table, on_pms_delete) VALUES ('lodgings', 'lodgings', 'delete');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('lodgings', 'name', 'manual');
INSERT INTO lodgings VALUES (1, 'A', 'base');
SELECT unchanged FROM jacksync.apply('lodgings', '[{"id": "A", "name": "base"}]');

-- a row that is deleted and comes back is not the one whose conflict is held
UPDATE lodgings SET name = 'ours';
SELECT conflicts FROM jacksync.apply('lodgings', '[{"id": "A", "name": "theirs"}]');
DELETE FROM lodgings;
CREATE SEQUENCE lodging_ids START 2 OWNED BY lodgings.id;
ALTER TABLE lodgings ALTER id SET DEFAULT nextval('lodging_ids');
SELECT created FROM jacksync.apply('lodgings', '[{"id": "A", "name": "theirs again"}]');
SELECT status, resolved_by, resolution FROM jacksync.manual_conflict WHERE entity = 'lodgings';
SELECT sync_status FROM jacksync.record WHERE entity = 'lodgings';


-- a record that the PMS deleted, a row that somebody makes for its id, and the
-- record back again: one row
CREATE SERVER lodging_pms FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://pms.invalid');
INSERT INTO jacksync.stream (entity, server, request, deleted_path)
	VALUES ('lodgings', 'lodging_pms', '{"path": "/"}', '$.deleted == true');
SELECT created FROM jacksync.apply('lodgings', '[{"id": "B", "name": "first"}]', 'lodging_pms');
SELECT updated FROM jacksync.apply('lodgings', '[{"id": "B", "deleted": true}]', 'lodging_pms');
INSERT INTO lodgings VALUES (3, 'B', 'second');
SELECT conflicts, errors FROM jacksync.apply('lodgings', '[{"id": "B", "name": "third"}]', 'lodging_pms');
SELECT l.id, l.name, r.sync_status FROM lodgings l JOIN jacksync.record r USING (external_id) WHERE l.external_id = 'B';

-- deleted and made anew within a second, by a PMS that knows whole seconds; what
-- was before that second is late
SELECT created FROM jacksync.apply('lodgings', '[{"id": "C", "name": "first", "updatedAt": "2026-01-01T00:00:01Z"}]', 'lodging_pms');
SELECT updated FROM jacksync.apply('lodgings', '[{"id": "C", "deleted": true, "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT created, unchanged FROM jacksync.apply('lodgings', '[{"id": "C", "name": "first", "updatedAt": "2026-01-01T00:00:01Z"}]', 'lodging_pms');
SELECT created, unchanged FROM jacksync.apply('lodgings', '[{"id": "C", "name": "second", "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT l.name, r.sync_status FROM lodgings l JOIN jacksync.record r USING (external_id) WHERE l.external_id = 'C';

-- what failed waits, and an older version that comes late neither takes its
-- place nor settles it
ALTER TABLE lodgings ADD CHECK (name <> 'refused');
SELECT created FROM jacksync.apply('lodgings', '[{"id": "D", "name": "first", "updatedAt": "2026-01-01T00:00:01Z"}]', 'lodging_pms');
SELECT errors FROM jacksync.apply('lodgings', '[{"id": "D", "name": "refused", "updatedAt": "2026-01-01T00:00:03Z"}]', 'lodging_pms');
SELECT updated, unchanged FROM jacksync.apply('lodgings', '[{"id": "D", "name": "late", "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT errors, unchanged FROM jacksync.apply('lodgings', '[{"id": "D", "deleted": true, "updatedAt": "2026-01-01T00:00:02Z"}, {"id": "D", "name": 7, "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT payload, state FROM jacksync.sync_error WHERE entity = 'lodgings' AND external_id = 'D';
SELECT updated FROM jacksync.apply('lodgings', '[{"id": "D", "name": "newest", "updatedAt": "2026-01-01T00:00:04Z"}]', 'lodging_pms');
SELECT l.name, r.sync_status, e.state FROM lodgings l JOIN jacksync.record r USING (external_id) JOIN jacksync.sync_error e USING (external_id) WHERE l.external_id = 'D';

-- nor is a delete over that waits for the end of the pull which brought it
SELECT created FROM jacksync.apply('lodgings', '[{"id": "E", "name": "first", "updatedAt": "2026-01-01T00:00:01Z"}]', 'lodging_pms');
INSERT INTO jacksync.pending_delete (stream_id, external_id, payload, tick, state)
	SELECT stream_id, 'E', '{"id": "E", "deleted": true, "updatedAt": "2026-01-01T00:00:03Z"}', 0, 'gathered'
	FROM jacksync.stream WHERE entity = 'lodgings';
SELECT updated, unchanged FROM jacksync.apply('lodgings', '[{"id": "E", "name": "late", "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT external_id, state FROM jacksync.pending_delete;
SELECT updated, unchanged FROM jacksync.apply('lodgings', '[{"id": "E", "name": "anew", "updatedAt": "2026-01-01T00:00:03Z"}]', 'lodging_pms');
SELECT external_id, state FROM jacksync.pending_delete;

-- among many records, what becomes of the one that failed is seen
CREATE FUNCTION many(day integer, failing text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('id', 'F' || i, 'name', CASE i WHEN 25 THEN failing ELSE 'day ' || day END, 'updatedAt', '2026-01-0' || day))
	FROM generate_series(1, 40) i
$$;
SELECT created, errors FROM jacksync.apply('lodgings', many(2, 'refused'), 'lodging_pms');
SELECT updated, unchanged, errors FROM jacksync.apply('lodgings', many(1, 'late'), 'lodging_pms');
SELECT payload->>'name' AS name, state FROM jacksync.sync_error WHERE entity = 'lodgings' AND external_id = 'F25';
SELECT updated, created, errors FROM jacksync.apply('lodgings', many(3, 'taken'), 'lodging_pms');
SELECT payload->>'name' AS name, state FROM jacksync.sync_error WHERE entity = 'lodgings' AND external_id = 'F25';
DROP FUNCTION many;

-- a tombstone that is to be looked at again is looked at once, not for ever
SELECT created FROM jacksync.apply('lodgings', '[{"id": "G", "name": "first", "updatedAt": "2026-01-01T00:00:01Z"}]', 'lodging_pms');
SELECT updated FROM jacksync.apply('lodgings', '[{"id": "G", "deleted": true, "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
UPDATE jacksync.link SET hash = NULL, must_pull = true WHERE external_id = 'G';
SELECT unchanged FROM jacksync.apply('lodgings', '[{"id": "G", "deleted": true, "updatedAt": "2026-01-01T00:00:02Z"}]', 'lodging_pms');
SELECT state, hash IS NOT NULL AS known, must_pull FROM jacksync.link WHERE external_id = 'G';

DELETE FROM jacksync.entity WHERE entity = 'lodgings';
DELETE FROM jacksync.authority WHERE entity = 'lodgings';
DELETE FROM jacksync.manual_conflict WHERE entity = 'lodgings';
DROP SERVER lodging_pms CASCADE;
DROP TABLE lodgings;
