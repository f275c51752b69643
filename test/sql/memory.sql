-- what a session keeps: plans of statements, of which there are as many as sets of columns are written together
CREATE TABLE kept (id int PRIMARY KEY, external_id text UNIQUE, a int, b int, c int, d int, e int, f int, g int, h int, i int, j int);
CREATE FUNCTION kept_quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER kept_quiet BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION kept_quiet();
ALTER TABLE kept ALTER id SET DEFAULT 1;
INSERT INTO jacksync.entity (entity, local_table) VALUES ('kept', 'kept');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('kept', '*', 'pms_wins');
-- as statements, not directly
CREATE RULE kept_nothing AS ON DELETE TO kept WHERE OLD.id < 0 DO INSTEAD NOTHING;
SELECT jacksync.apply_path('kept') <> '' AS by_statements;
-- every set of ten columns, by its number; returns how many records were changed
CREATE FUNCTION write_sets(upto int, value int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint := 0;
BEGIN
	FOR s IN 1 .. upto LOOP
		n := n + (SELECT updated FROM jacksync.apply('kept', jsonb_build_array(jsonb_object_agg(chr(97 + bit), value * 10000 + s) || '{"id": "K"}'))) FROM generate_series(0, 9) bit WHERE s & (1 << bit) <> 0;
	END LOOP;
	RETURN n;
END $$;
-- all fields are known from the beginning
SELECT created FROM jacksync.apply('kept', '[{"id": "K", "a": 0, "b": 0, "c": 0, "d": 0, "e": 0, "f": 0, "g": 0, "h": 0, "i": 0, "j": 0}]');
CREATE VIEW kept_plans AS SELECT count(*) AS n FROM pg_backend_memory_contexts WHERE name = 'CachedPlanSource' AND ident LIKE 'UPDATE ONLY public.kept %';
CREATE VIEW kept_bytes AS SELECT sum(used_bytes) AS n FROM pg_backend_memory_contexts WHERE name = 'jacksync entity';
SELECT write_sets(700, 1);
SELECT n BETWEEN 20 AND 64 AS bounded FROM kept_plans;
SELECT n AS before FROM kept_bytes \gset
SELECT write_sets(700, 2);
SELECT n BETWEEN 20 AND 64 AS bounded FROM kept_plans;
-- nor does anything else of them stay
SELECT n < :before + 8192 AS level FROM kept_bytes;
SELECT * FROM kept;
DELETE FROM jacksync.entity;
DELETE FROM jacksync.authority;
DROP VIEW kept_plans, kept_bytes;
DROP TABLE kept;
DROP FUNCTION kept_quiet(), write_sets(int, int);
