/* what the capture trigger logs, for every way to write */
CREATE TABLE c (id integer PRIMARY KEY, external_id text, a text, b text, unsynced text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('c', 'c');
INSERT INTO jacksync.authority (entity, field, strategy, push) VALUES ('c', 'a', 'latest_wins', NULL), ('c', 'b', 'local_wins', NULL);
CREATE VIEW logged AS
	SELECT op, waiting, local_id, old_local_id, ARRAY(SELECT attname FROM pg_attribute
		WHERE attrelid = 'c'::regclass AND CASE WHEN attnum BETWEEN 1 AND 8 * length(columns) - 1 THEN get_bit(columns, attnum) = 1 END ORDER BY attnum) AS columns
	FROM jacksync.change ORDER BY change_id;
CREATE PROCEDURE forget() LANGUAGE sql AS 'DELETE FROM jacksync.change';

INSERT INTO c VALUES (1, 'E1', 'x', 'y', 'z');
COPY c FROM stdin;
2	E2	x	y	z
\.
TABLE logged; CALL forget();
UPDATE c SET unsynced = 'other' WHERE id = 1;
UPDATE c SET a = a WHERE id = 1;
TABLE logged;
UPDATE c SET a = 'new', unsynced = 'more' WHERE id = 1;
UPDATE c SET b = NULL WHERE id = 1;
INSERT INTO c VALUES (1, 'E1', 'again', 'y', 'z') ON CONFLICT (id) DO UPDATE SET a = excluded.a;
MERGE INTO c USING (VALUES (2, 'merged')) m (id, a) ON m.id = c.id WHEN MATCHED THEN UPDATE SET a = m.a;
UPDATE c SET id = 3 WHERE id = 2;
DELETE FROM c WHERE id = 3;
TABLE logged; CALL forget();
BEGIN; UPDATE c SET a = 'rolled back'; ROLLBACK;
BEGIN; SAVEPOINT s; UPDATE c SET a = 'rolled back'; ROLLBACK TO s; UPDATE c SET a = 'kept'; COMMIT;
TABLE logged; CALL forget();

-- what a dump brings is older than what is captured here, whatever its numbers
UPDATE c SET a = 'dumped'; INSERT INTO c VALUES (5); DELETE FROM c WHERE id = 5;
CREATE TEMP TABLE dump AS TABLE jacksync.change;
UPDATE dump SET change_id = change_id + 1000000000000;
CALL forget();
DELETE FROM c WHERE id = 5; INSERT INTO c VALUES (5);
INSERT INTO jacksync.change TABLE dump;
DROP TABLE dump;
TABLE logged; DELETE FROM c WHERE id = 5; CALL forget();

-- many rows of one statement are written together: in their order, and only once
INSERT INTO c SELECT i, 'E' || i, 'x', 'y' FROM generate_series(10, 209) i;
UPDATE c SET a = 'bulk', b = 'bulk' WHERE id >= 10;
DELETE FROM c WHERE id >= 200;
SELECT op, columns, count(*), count(DISTINCT local_id), min(local_id::int), max(local_id::int) FROM logged GROUP BY op, columns ORDER BY 1;
SELECT count(*) FROM (SELECT local_id, string_agg(op::text, '' ORDER BY change_id) AS ops FROM jacksync.change GROUP BY local_id) o
WHERE ops <> CASE WHEN local_id::int >= 200 THEN 'iud' ELSE 'iu' END;
CALL forget();
-- triggers that write the same table while its rows wait, some of it in vain
CREATE FUNCTION nest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 12 AND NEW.a = 'nest' THEN
		BEGIN
			UPDATE c SET b = 'in vain' WHERE id BETWEEN 20 AND 120;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
		BEGIN
			DELETE FROM c WHERE id = 11;
			INSERT INTO c VALUES (300, 'E300');
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
		UPDATE c SET id = 10, b = 'moved' WHERE id = 300;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER zz_nest AFTER UPDATE ON c FOR EACH ROW EXECUTE FUNCTION nest();
DELETE FROM c WHERE id = 10; CALL forget();
UPDATE c SET a = 'nest' WHERE id IN (11, 12, 13);
TABLE logged; CALL forget();
DROP TRIGGER zz_nest ON c;
-- what the same transaction captured is there for who looks, and for apply()
BEGIN;
UPDATE c SET a = 'seen' WHERE id = 12;
TABLE logged;
SAVEPOINT s;
UPDATE c SET a = 'not seen' WHERE id IN (13, 14);
ROLLBACK TO s;
COPY c (id, a) FROM stdin;
400	copied
\.
SELECT records_processed, updated, conflicts FROM jacksync.apply('c', '[{"id": "E12", "a": "nest", "b": "bulk"}]');
TABLE logged;
COMMIT;
DROP FUNCTION nest;
DELETE FROM c WHERE id >= 10;
CALL forget();

-- whoever may write the table may do so without grants on jacksync
CREATE ROLE regress_jacksync_writer;
GRANT INSERT, UPDATE, DELETE, SELECT ON c TO regress_jacksync_writer;
SET ROLE regress_jacksync_writer;
UPDATE c SET a = 'by another role';
SELECT * FROM jacksync.change;
SELECT jacksync.apply('c', '[]');
RESET ROLE;
TABLE logged; CALL forget();
REVOKE ALL ON c FROM regress_jacksync_writer;
DROP ROLE regress_jacksync_writer;

-- edits of what the PMS owns
UPDATE jacksync.authority SET strategy = 'pms_wins', push = NULL WHERE field = 'a';
UPDATE jacksync.entity SET on_local_edit = 'warn' WHERE entity = 'c';
UPDATE c SET a = 'warned';
UPDATE jacksync.entity SET on_local_edit = 'reject' WHERE entity = 'c';
\set VERBOSITY verbose
\set SHOW_CONTEXT never
UPDATE c SET b = 'free';
\set VERBOSITY sqlstate
UPDATE c SET a = 'refused';
\set VERBOSITY default
TABLE logged; CALL forget();
TRUNCATE c;

-- a composite key, quoted names, a partitioned table
CREATE TABLE "Odd "" Täble" ("The Key" integer, day date, external_id text, "Gast Name" text,
	PRIMARY KEY ("The Key", day)) PARTITION BY RANGE (day);
CREATE TABLE odd_1 ("Gast Name" text, day date NOT NULL, external_id text, "The Key" integer NOT NULL);
ALTER TABLE "Odd "" Täble" ATTACH PARTITION odd_1 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('odd', '"Odd "" Täble"');
INSERT INTO jacksync.authority (entity, field, strategy, column_name) VALUES ('odd', 'guestName', 'latest_wins', 'Gast Name');
INSERT INTO "Odd "" Täble" VALUES (1, '2026-05-05', 'O1', 'Ada');
SELECT created, updated FROM jacksync.apply('odd', '[{"id": "O1", "guestName": "Grace"}]');
SELECT local_id, external_id, sync_status FROM jacksync.record WHERE entity = 'odd';
UPDATE "Odd "" Täble" SET "Gast Name" = 'Edith';
SELECT op, waiting, local_id FROM jacksync.change;
SELECT sync_status FROM jacksync.record WHERE entity = 'odd';

DELETE FROM jacksync.entity;
DELETE FROM jacksync.authority;
DROP TABLE c CASCADE;
DROP TABLE "Odd "" Täble";
DROP PROCEDURE forget;
