/* where links are: a process remembers it, and learns it from the index */
CREATE TABLE places_a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, n int);
CREATE TABLE places_b (LIKE places_a INCLUDING ALL);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('places_a', 'places_a'), ('places_b', 'places_b');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('places_a', '*', 'pms_wins'), ('places_b', '*', 'pms_wins');
-- records by a residue class of their number, in an order that is not that of their ids
CREATE FUNCTION places(version int, every int DEFAULT 1, rest int DEFAULT 0, upto int DEFAULT 4000) RETURNS jsonb LANGUAGE sql RETURN
	(SELECT jsonb_agg(jsonb_build_object('id', 'R' || i, 'name', 'name ' || i, 'n', i * version) ORDER BY md5(i::text))
	FROM generate_series(1, upto) i WHERE i % every = rest);
CREATE VIEW lookups AS SELECT idx_scan FROM pg_stat_user_indexes WHERE schemaname = 'jacksync' AND indexrelname = 'link_external';
SELECT created, unchanged FROM jacksync.apply('places_a', places(1));
SELECT created, unchanged FROM jacksync.apply('places_b', places(1));
-- some that the PMS does not have
INSERT INTO places_a (name) SELECT 'local ' || i FROM generate_series(1, 100) i;
-- dead versions in the index, of every tenth link
UPDATE jacksync.link SET hash = hash, local_id = local_id || ' ' WHERE external_id LIKE '%7';
UPDATE jacksync.link SET local_id = trim(local_id) WHERE external_id LIKE '%7';
SELECT sum(n) FROM places_a;
-- a new session: the first records are looked up, later ones only where the index has several versions
\c
SELECT pg_stat_force_next_flush(); SELECT idx_scan AS before FROM lookups \gset
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(1, 8, 3));
SELECT pg_stat_force_next_flush(); SELECT idx_scan - :before BETWEEN 200 AND 550 AS looked_up, idx_scan AS before FROM lookups \gset
\echo :looked_up
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(2));
SELECT created, updated, unchanged FROM jacksync.apply('places_b', places(2));
SELECT pg_stat_force_next_flush(); SELECT idx_scan - :before < 1500 AS learned FROM lookups;
SELECT sum(n) FROM places_a UNION ALL SELECT sum(n) FROM places_b;
-- places that are wrong: everything is somewhere else, another's link is there
VACUUM FULL jacksync.link;
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(2));
DELETE FROM places_b WHERE n % 3 = 0;
SELECT created, updated, unchanged FROM jacksync.apply('places_b', places(3));
SELECT count(*), count(DISTINCT external_id), sum(n) FROM places_b;
-- new ones among them, and ids that occur twice
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(2, 1, 0, 4500));
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(2, 100, 1) || places(4, 100, 1));
-- less memory than it takes: nothing is learned then, and nothing changes
\c
SET jacksync.hint_memory = '64kB';
SELECT created, updated, unchanged FROM jacksync.apply('places_b', places(3, 2, 1));
SELECT created, updated, unchanged FROM jacksync.apply('places_b', places(5));
SELECT count(*), count(DISTINCT external_id), sum(n) FROM places_b;
-- ids that are as long as an index allows, compressed in it
SELECT created, updated, unchanged FROM jacksync.apply('places_a', (SELECT jsonb_agg(jsonb_build_object('id', repeat('L', 900 + i), 'n', i)) FROM generate_series(1, 60) i));
\c
SELECT created, updated, unchanged FROM jacksync.apply('places_a', places(2, 8, 1));
SELECT created, updated, unchanged FROM jacksync.apply('places_a', (SELECT jsonb_agg(jsonb_build_object('id', repeat('L', 900 + i), 'n', i + i % 2)) FROM generate_series(1, 60) i));
-- rows that were changed before their records came: the index is asked, whatever is planned for a table that was small then
\c
SET enable_indexscan = off; SET enable_bitmapscan = off;
CREATE TABLE places_c (LIKE places_a INCLUDING ALL);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('places_c', 'places_c');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('places_c', '*', 'pms_wins');
INSERT INTO places_c (external_id, name, n) SELECT 'R' || i, 'here', i FROM generate_series(1, 1000) i;
SELECT pg_stat_force_next_flush(); SELECT seq_scan AS before FROM pg_stat_user_tables WHERE relid = 'jacksync.link'::regclass \gset
SELECT created, updated, unchanged FROM jacksync.apply('places_c', places(1, 4, 1));
UPDATE places_c SET name = name || ' again';
SELECT created, updated, unchanged FROM jacksync.apply('places_c', places(1, 4, 2, 1000));
SELECT pg_stat_force_next_flush(); SELECT seq_scan - :before < 50 AS by_index FROM pg_stat_user_tables WHERE relid = 'jacksync.link'::regclass;
SELECT count(*), count(*) FILTER (WHERE name LIKE 'here%') AS here, count(*) FILTER (WHERE name LIKE '%again') AS again FROM places_c;
SELECT count(*) AS left_in_the_log FROM jacksync.change;
DELETE FROM jacksync.entity WHERE entity LIKE 'places%';
DROP VIEW lookups; DROP FUNCTION places; DROP TABLE places_a, places_b, places_c;
