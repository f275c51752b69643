/* the direct and the general path of apply: which tables take which, and that both give the same */
CREATE TABLE fast_plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, n numeric(10,2),
	at date, tags text[], extra jsonb, ok boolean DEFAULT true, twice numeric GENERATED ALWAYS AS (n * 2) STORED, CHECK (n < 1000));
CREATE TABLE fast_rule (LIKE fast_plain INCLUDING ALL);
CREATE RULE nothing AS ON DELETE TO fast_rule WHERE OLD.id < 0 DO INSTEAD NOTHING;
CREATE TABLE fast_statement (LIKE fast_plain INCLUDING ALL);
CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER quiet AFTER UPDATE ON fast_statement EXECUTE FUNCTION quiet();
CREATE TABLE fast_part (LIKE fast_plain INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS, PRIMARY KEY (id), UNIQUE (id, external_id)) PARTITION BY RANGE (id);
CREATE SEQUENCE fast_part_seq; ALTER TABLE fast_part ALTER id SET DEFAULT nextval('fast_part_seq');
CREATE TABLE fast_part_1 PARTITION OF fast_part DEFAULT;
INSERT INTO jacksync.entity (entity, local_table) SELECT t, t::regclass
FROM unnest(array['fast_plain', 'fast_rule', 'fast_statement', 'fast_part']) t;
INSERT INTO jacksync.authority (entity, field, strategy)
SELECT t, f, s::jacksync.strategy FROM unnest(array['fast_plain', 'fast_rule', 'fast_statement', 'fast_part']) t,
	(VALUES ('*', 'pms_wins'), ('tags', 'merge'), ('name', 'local_wins')) r(f, s);
SELECT entity, jacksync.apply_path(entity) FROM jacksync.entity WHERE entity LIKE 'fast%' ORDER BY 1;

-- the same pages to all of them, the first one also as text
CREATE PROCEDURE everywhere(page text) LANGUAGE plpgsql AS $$
DECLARE e text; r jacksync.sync_result; first jacksync.sync_result;
BEGIN
	FOREACH e IN ARRAY array['fast_plain', 'fast_rule', 'fast_statement', 'fast_part'] LOOP
		IF e = 'fast_plain' THEN
			r := jacksync.apply_page(e, page);
			first := r;
		ELSE
			r := jacksync.apply(e, page::jsonb);
		END IF;
		IF (r.records_processed, r.created, r.updated, r.unchanged, r.conflicts, r.errors)
			IS DISTINCT FROM (first.records_processed, first.created, first.updated, first.unchanged, first.conflicts, first.errors) THEN
			RAISE WARNING 'differs: % %', e, r;
		END IF;
	END LOOP;
	RAISE NOTICE 'processed % created % updated % unchanged % conflicts % errors %', first.records_processed, first.created,
		first.updated, first.unchanged, first.conflicts, first.errors;
END $$;
CREATE VIEW fast_differs AS
	SELECT 'row' AS what, external_id, name, n, at, tags, extra, ok, twice, count(*) FROM (
		TABLE fast_plain UNION ALL TABLE fast_rule UNION ALL TABLE fast_statement UNION ALL TABLE fast_part) x
	GROUP BY external_id, name, n, at, tags, extra, ok, twice HAVING count(*) <> 4;
CREATE VIEW fast_links AS
	SELECT l.external_id, l.state, l.dirty, l.waiting, l.snapshot, l.local_base, count(*)
	FROM jacksync.link l JOIN jacksync.entity e USING (entity_id) WHERE e.entity LIKE 'fast%'
	GROUP BY l.external_id, l.state, l.dirty, l.waiting, l.snapshot, l.local_base;
CALL everywhere('[{"id": "A", "updatedAt": "2026-01-01T10:00:00Z", "name": "Ann", "n": 1.50, "at": "2026-05-01", "tags": ["x"], "extra": {"a": [1, null]}, "ok": false},
 {"id": 7, "name": "K\u00e4the \"q\"\n", "n": 12e1, "at": null, "tags": [], "extra": [true], "unknown": {"z": 1}},
 {"id": "C", "name": null}]');
TABLE fast_differs;
SELECT external_id, name, n, at, tags, extra, ok, twice FROM fast_plain ORDER BY id;
-- again: nothing is written
SELECT max(xmin::text::bigint) AS written FROM fast_plain \gset
CALL everywhere('[{"id": "A", "updatedAt": "2026-01-01T10:00:00Z", "name": "Ann", "n": 1.50, "at": "2026-05-01", "tags": ["x"], "extra": {"a": [1, null]}, "ok": false},
 {"id": 7, "name": "K\u00e4the \"q\"\n", "n": 12e1, "at": null, "tags": [], "extra": [true], "unknown": {"z": 1}},
 {"id": "C", "name": null}]');
SELECT max(xmin::text::bigint) = :written AS untouched FROM fast_plain;
-- local edits, changes of the PMS, a record twice, one that fails, one without an id
UPDATE fast_plain SET tags = array_append(tags, 'here'), name = 'local', n = 3; UPDATE fast_rule SET tags = array_append(tags, 'here'), name = 'local', n = 3;
UPDATE fast_statement SET tags = array_append(tags, 'here'), name = 'local', n = 3; UPDATE fast_part SET tags = array_append(tags, 'here'), name = 'local', n = 3;
CALL everywhere('[{"id": "A", "updatedAt": "2026-01-02T10:00:00Z", "name": "Anna", "n": 2, "tags": ["x", "pms"]},
 {"id": "A", "updatedAt": "2026-01-03T10:00:00Z", "name": "Anna", "n": 2.5, "tags": ["x", "pms"]},
 {"id": 7, "n": 120.00, "at": "2026-06-01"}, {"id": "C", "n": 5000}, {"id": "D", "n": 9, "name": "new"}, {"name": "nobody"}]');
TABLE fast_differs;
SELECT external_id, name, n, at, tags, extra, ok, twice FROM fast_plain ORDER BY id;
SELECT external_id, state, dirty, waiting, snapshot, local_base, count FROM fast_links ORDER BY external_id;
SELECT entity, field, external_id, before_state, after_state, conflict_details ->> 'resolution' AS resolution FROM jacksync.audit_log
WHERE entity IN ('fast_plain', 'fast_statement') ORDER BY external_id, field, audit_id;
-- what waits is looked at once there is a stream
CREATE SERVER fast FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'http://127.0.0.1:9');
INSERT INTO jacksync.stream (entity, server, request, enabled) VALUES ('fast_plain', 'fast', '{"path": "/"}', false);
SELECT l.external_id, l.dirty, l.waiting FROM jacksync.link l JOIN jacksync.stream USING (stream_id) WHERE entity = 'fast_plain' ORDER BY 1;
DELETE FROM jacksync.stream WHERE entity = 'fast_plain'; DROP SERVER fast;
SELECT jacksync.apply_page('fast_plain', '{"id": 1}');
SELECT jacksync.apply_page('fast_plain', '[{"id": 1},');
-- AFTER ROW triggers, for which the executor opens the table: nothing of it stays open, whatever the trigger does
CREATE TABLE fast_after (LIKE fast_plain INCLUDING ALL);
CREATE FUNCTION fast_after() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN IF NEW.name = 'refused' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NULL; END $$;
CREATE TRIGGER after AFTER INSERT OR UPDATE ON fast_after FOR EACH ROW EXECUTE FUNCTION fast_after();
INSERT INTO jacksync.entity (entity, local_table) VALUES ('fast_after', 'fast_after');
SELECT jacksync.apply_path('fast_after');
SELECT created, updated, errors FROM jacksync.apply('fast_after', '[{"id": "A", "name": "a"}, {"id": "B", "name": "b"}]');
SELECT created, updated, errors FROM jacksync.apply('fast_after', '[{"id": "A", "name": "aa"}, {"id": "C", "name": "refused"}]');
SELECT created, updated, errors FROM jacksync.apply('fast_after', '[{"id": "A", "name": "aaa"}, {"id": "B", "name": "bb"}]');
-- a snapshot of many members is the jsonb that the server makes of it
DO $$ BEGIN
	EXECUTE 'CREATE TABLE fast_wide (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, '
		|| (SELECT string_agg(format('c%s %s', i, (array['text', 'numeric', 'jsonb', 'boolean', 'text[]'])[i % 5 + 1]), ', ') FROM generate_series(1, 70) i) || ')';
	INSERT INTO jacksync.entity (entity, local_table) VALUES ('fast_wide', 'fast_wide');
END $$;
CREATE VIEW fast_page AS SELECT m, jsonb_build_array(jsonb_object_agg(k, v)) AS page FROM (
	SELECT 'id' AS k, '"W"'::jsonb AS v, m FROM generate_series(0, 4) m UNION ALL
	SELECT 'c' || i, CASE WHEN (i + m) % 11 = 0 THEN 'null' ELSE (array[to_jsonb(repeat('x', i + m)), to_jsonb((i + m) * 1.25), jsonb_build_object('a', i, 'b', array[m, i]), to_jsonb((i + m) % 2 = 0), to_jsonb(array['a', repeat('y', m)])])[i % 5 + 1] END, m
	FROM generate_series(1, 70) i, generate_series(0, 4) m) x GROUP BY m;
DO $$ DECLARE p record; BEGIN
	FOR p IN SELECT * FROM fast_page ORDER BY m LOOP
		PERFORM jacksync.apply_page('fast_wide', p.page::text);
		RAISE NOTICE '%', (SELECT row(l.snapshot = (p.page -> 0) - 'id', l.snapshot::text = ((p.page -> 0) - 'id')::text,
			jsonb_send(l.snapshot) = jsonb_send((p.page -> 0) - 'id'), (SELECT count(*) FROM jsonb_each(l.snapshot)),
			(SELECT bool_and(l.snapshot -> k = p.page -> 0 -> k) FROM jsonb_object_keys(l.snapshot) k))
			FROM jacksync.link l JOIN jacksync.entity e USING (entity_id) WHERE e.entity = 'fast_wide');
	END LOOP;
END $$;
SELECT jsonb_object_agg(key, value) = (SELECT page -> 0 FROM fast_page WHERE m = 4) - 'id' AS row_as_well
FROM fast_wide w, jsonb_each(to_jsonb(w) - 'id' - 'external_id');
DROP VIEW fast_page;
-- numbers are those that jsonb has: short ones are read without its help
CREATE TABLE fast_number (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, extra jsonb);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('fast_number', 'fast_number');
DO $$ DECLARE number text; j jsonb; BEGIN
	FOREACH number IN ARRAY string_to_array('0 -0 0.0 -0.00 -7 100 10000 1000000000000 9999 10000.0001 412.73 1.10 -0.5 0.00010000 0.000000000000001 '
		|| '12345678901234567 -1234567890123456 123456789012345678 1234567.890123456 99999999999.9999 -99999999999.9999 0.123456789012345 -0.99999999999999 '
		|| '1e3 -1.5E-3 0e5 123456789012345678901234567890.12', ' ') LOOP
		j := jsonb_build_object('extra', number::jsonb);
		PERFORM jacksync.apply_page('fast_number', format('[{"id":"%s N","extra":%s}]', number, number));
		IF (SELECT (l.snapshot = j, l.snapshot::text, pg_column_size(l.snapshot || '{}'), r.extra::text)
			IS DISTINCT FROM (true, j::text, pg_column_size(j || '{}'), (j -> 'extra')::text)
			FROM fast_number r JOIN jacksync.link l USING (external_id) JOIN jacksync.entity e USING (entity_id)
			WHERE e.entity = 'fast_number' AND external_id = number || ' N') THEN
			RAISE WARNING '% became %', number, (SELECT extra FROM fast_number WHERE external_id = number || ' N');
		END IF;
	END LOOP;
END $$;
SELECT count(*), sum(extra::text::numeric) FROM fast_number;
-- records of a page of text that are not parsed: whatever is in them, they are told apart and found again
CREATE TABLE fast_text (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE, name text, extra jsonb);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('fast_text', 'fast_text');
CREATE FUNCTION fast_apply(page text) RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s created, %s updated, %s unchanged, %s errors', created, updated, unchanged, errors) FROM jacksync.apply_page('fast_text', page) $$;
SELECT fast_apply(p) FROM (SELECT ' [ {"name" : "a \"]}, [{\\", "id":"A"} ,{"extra": {"id": "x", "b": ["}", "]\""]}, "id" : 12 , "name": null},{"id":"K\u00e4the", "name":""}, {"id":"Zoë","name":"é"}, {"id":"A,}"}
	,{"id":"B","extra":[1,[2,[3]],{}]} ] ' AS p) x, generate_series(1, 2);
SELECT external_id, name, extra FROM fast_text ORDER BY id;
-- twice in a page, the older one last; two ids in one record; none; no record at all
SELECT fast_apply('[{"id":"A","name":"one"},{"id":"B","name":"two"},{"id":"A","name":"three"}]');
SELECT fast_apply('[{"id":"A","name":"three"},{"id":"A","name":"one"},{"id":"A","name":"three"}]');
SELECT fast_apply('[{"id":"A","name":"twice","id":"B"}]'), fast_apply('[{"name":"A"},{"id":null},{"id":""},{"id":{}},7,"x",[],null]');
SELECT external_id, name FROM fast_text WHERE external_id IN ('A', 'B') ORDER BY 1;
SELECT fast_apply('[]'), fast_apply(' [	] ');
-- a column that comes later takes what the records had all the time
SELECT fast_apply('[{"id":"C","name":"c","late":"yes"}]') FROM generate_series(1, 2);
ALTER TABLE fast_text ADD late text;
SELECT fast_apply('[{"id":"C","name":"c","late":"yes"}]') FROM generate_series(1, 2);
SELECT name, late FROM fast_text WHERE external_id = 'C';
DO $$ DECLARE p text; BEGIN
	FOREACH p IN ARRAY array['[{"id":"A"}]]', '[{"id":"A"},]', '[{"id" "A"}]', '[{"id":"A}]', '[{"id":}]', '["A" "B"]', '[{"id":"A",,"name":"b"}]', '[nul]', '[{"id":"A"]', '', '{"id":"A"}', '[{"id":"A","name":"\u0000"}]'] LOOP
		BEGIN PERFORM jacksync.apply_page('fast_text', p); RAISE NOTICE '% was taken', p;
		EXCEPTION WHEN others THEN RAISE NOTICE '%: %', p, SQLERRM; END;
	END LOOP;
END $$;
-- apply() of a text that is cast to jsonb reads the text, and gives what it gives for the jsonb
CREATE FUNCTION fast_cast(page text, entity text DEFAULT 'fast_cast') RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s created, %s updated, %s unchanged, %s errors', created, updated, unchanged, errors) FROM jacksync.apply(entity, page::jsonb) $$;
CREATE TABLE fast_cast (LIKE fast_text INCLUDING ALL);
CREATE TABLE fast_jsonb (LIKE fast_text INCLUDING ALL);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('fast_cast', 'fast_cast'), ('fast_jsonb', 'fast_jsonb');
EXPLAIN (VERBOSE, COSTS off) SELECT jacksync.apply('fast_cast', p::jsonb) FROM (VALUES ('[]'), ('[]')) v (p);
EXPLAIN (VERBOSE, COSTS off) SELECT jacksync.apply('fast_cast', p::varchar(20)::jsonb, 's') FROM (VALUES ('[]'), ('[]')) v (p);
EXPLAIN (VERBOSE, COSTS off) SELECT jacksync.apply('fast_cast', p) FROM (VALUES ('[]'::jsonb), ('[]')) v (p);
EXPLAIN (VERBOSE, COSTS off) SELECT jacksync.apply('fast_cast', '[]'::jsonb), jacksync.apply('fast_cast', array_to_json(p)::jsonb) FROM (VALUES ('{}'::int[]), ('{}')) v (p);
DO $$ DECLARE p text; j jsonb; by_text text; by_jsonb text; BEGIN
	FOREACH p IN ARRAY array['[{"id":"A","name":"a","name":"b"}]', '[{"id":"A","id":"B","name":"of two"}]', '[{"id":"C","extra":{"k":1,"k":2}}]',
		'[{"id":"D","name":"\u0000"}]', '[{"id":"D","name":"\ud800"}]', '[{"id":"D","extra":1e999999}]', '[{"id":"D","extra":1e500}]', '[{"id":"E","extra":-0.10e2}]',
		'[{"id":"F","name":7.50}]', '[{"id":7.0}]', '[{"id":"A","name":"c"},{"id":"A","name":"d"}]', '[{"id":"A","name":"c"},{"id":"A","name":"c"}]',
		'{"id":"G"}', '"G"', '7', 'null', '[null]', '[[]]', '[{}]', '[', '', '[{"id":"G",}]', '[{"id":"G"} {"id":"H"}]', '[{"id":"G"}]]',
		'[{"id":"G","extra":' || repeat('[', 300) || repeat(']', 300) || '}]', '[]', NULL] LOOP
		BEGIN by_text := fast_cast(p);
		EXCEPTION WHEN others THEN by_text := SQLSTATE || ' ' || SQLERRM; END;
		BEGIN j := p; by_jsonb := (SELECT format('%s created, %s updated, %s unchanged, %s errors', created, updated, unchanged, errors) FROM jacksync.apply('fast_jsonb', j));
		EXCEPTION WHEN others THEN by_jsonb := SQLSTATE || ' ' || SQLERRM; END;
		RAISE NOTICE '% %: %', CASE WHEN by_text IS DISTINCT FROM by_jsonb THEN by_jsonb || ' but by text' ELSE 'same' END, left(p, 60), by_text;
	END LOOP;
END $$;
SELECT external_id, name, left(extra::text, 20) AS extra FROM fast_cast ORDER BY 1;
(SELECT external_id, name, extra FROM fast_cast EXCEPT SELECT external_id, name, extra FROM fast_jsonb)
UNION (SELECT external_id, name, extra FROM fast_jsonb EXCEPT SELECT external_id, name, extra FROM fast_cast);
SELECT count(*), count(DISTINCT (external_id, snapshot, pms_updated_at, state)) FROM jacksync.link JOIN jacksync.entity USING (entity_id) WHERE entity IN ('fast_cast', 'fast_jsonb');
-- the other path, and records that a stream gives another shape
SET jacksync.force_general_path = on;
SELECT fast_cast('[{"id":"A","name":"general"}]') FROM generate_series(1, 2);
RESET jacksync.force_general_path;
CREATE SERVER fast FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'http://127.0.0.1:1');
INSERT INTO jacksync.stream (entity, server, request, fields, primary_key, enabled) VALUES ('fast_cast', 'fast', '{"path": "/"}', '{"name": "$.who.name"}', '$.number', false);
SELECT created, updated, errors FROM (VALUES ('[{"number":"S1","who":{"name":"shaped"}}]'), ('[{"number":"S2","who":{"name":"too"}}]')) v (p), jacksync.apply('fast_cast', p::jsonb, 'fast');
SELECT external_id, name FROM fast_cast WHERE external_id LIKE 'S%' ORDER BY 1;
DELETE FROM jacksync.stream WHERE entity = 'fast_cast'; DROP SERVER fast;
-- whoever may call apply() may, and nobody else; a plan does not outlive that
CREATE ROLE fast_role; CREATE ROLE fast_other;
GRANT USAGE ON SCHEMA jacksync TO fast_role, fast_other;
GRANT EXECUTE ON FUNCTION jacksync.apply TO fast_role;
SELECT jacksync.grant_access('fast_other', 'operator');
PREPARE fast_call(text) AS SELECT created, updated, unchanged FROM jacksync.apply('fast_cast', $1::jsonb);
SET plan_cache_mode = force_generic_plan;
SET ROLE fast_other; EXECUTE fast_call('[{"id":"A","name":"by role"}]');
SET ROLE fast_role; EXECUTE fast_call('[{"id":"A","name":"by role"}]');
SET ROLE fast_other; EXECUTE fast_call('[{"id":"A","name":"by role"}]');
RESET ROLE; REVOKE EXECUTE ON FUNCTION jacksync.apply FROM fast_role, fast_other;
SET ROLE fast_role; EXECUTE fast_call('[]');
SET ROLE fast_other; EXECUTE fast_call('[]');
RESET ROLE; DEALLOCATE fast_call; RESET plan_cache_mode;
DROP OWNED BY fast_role, fast_other; DROP ROLE fast_role, fast_other;
DROP FUNCTION fast_cast;
-- where a row was last is a hint: it need not be there any more
SELECT count(*) > 0 AS hints FROM jacksync.link l JOIN jacksync.entity e USING (entity_id) WHERE e.entity = 'fast_text' AND row_at IS NOT NULL;
CLUSTER fast_text USING fast_text_pkey;
DELETE FROM fast_text WHERE external_id = 'A'; VACUUM fast_text; INSERT INTO fast_text (external_id, name) VALUES ('Q', 'q');
UPDATE jacksync.link SET row_at = '(4000000,7)' WHERE external_id = 'B';
UPDATE jacksync.link SET row_at = (SELECT ctid FROM fast_text WHERE external_id = 'Q') WHERE external_id = 'C';
SELECT fast_apply('[{"id":"B","name":"B"},{"id":"C","name":"C"},{"id":12,"name":"D"}]');
SELECT external_id, name, late FROM fast_text ORDER BY id;
DROP FUNCTION fast_apply;
DELETE FROM jacksync.entity WHERE entity LIKE 'fast%';
DELETE FROM jacksync.sync_error WHERE entity LIKE 'fast%';
DELETE FROM jacksync.manual_conflict WHERE entity LIKE 'fast%';
DELETE FROM jacksync.alert WHERE entity LIKE 'fast%';
DROP VIEW fast_links, fast_differs; DROP PROCEDURE everywhere; DROP TABLE fast_plain, fast_rule, fast_statement, fast_part, fast_after, fast_text, fast_wide; DROP FUNCTION quiet(), fast_after(); DROP SEQUENCE fast_part_seq;
