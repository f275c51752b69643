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

DELETE FROM jacksync.entity WHERE entity = 'lodgings';
DELETE FROM jacksync.authority WHERE entity = 'lodgings';
DELETE FROM jacksync.manual_conflict WHERE entity = 'lodgings';
DROP SERVER lodging_pms CASCADE;
DROP TABLE lodgings;
