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
ALTER TABLE lodgings ALTER id SET DEFAULT 2;
SELECT created FROM jacksync.apply('lodgings', '[{"id": "A", "name": "theirs again"}]');
SELECT status, resolved_by, resolution FROM jacksync.manual_conflict WHERE entity = 'lodgings';
SELECT sync_status FROM jacksync.record WHERE entity = 'lodgings';


DELETE FROM jacksync.entity WHERE entity = 'lodgings';
DELETE FROM jacksync.authority WHERE entity = 'lodgings';
DROP TABLE lodgings;
