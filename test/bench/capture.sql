/* Triggers beside ours, on tables of the same shape. */
SET search_path = bench, public;
CREATE TABLE capture_result (name text, what text, round int, us numeric, wal numeric);
CREATE TABLE capture_contender (ord int, name text, tab text, setup text, col text NOT NULL DEFAULT 'status');
CREATE TABLE audit_log (id bigserial, at timestamptz DEFAULT now(), old jsonb, new jsonb);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO bench.audit_log (old, new) VALUES (to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL; END $$;
CREATE TABLE sym_data (id bigserial PRIMARY KEY, table_name text, event_type char, row_data text, old_data text, pk_data text,
	channel text, transaction_id text, create_time timestamptz DEFAULT now());
CREATE FUNCTION sym() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.sym_data (table_name, event_type, row_data, old_data, pk_data, channel, transaction_id)
	VALUES (TG_TABLE_NAME, 'U',
		concat_ws(',', quote_nullable(NEW.id::text), quote_nullable(NEW.external_id), quote_nullable(NEW.guest_name), quote_nullable(NEW.check_in_date::text), quote_nullable(NEW.check_out_date::text), quote_nullable(NEW.room_number), quote_nullable(NEW.status), quote_nullable(NEW.balance::text), quote_nullable(NEW.notes)),
		concat_ws(',', quote_nullable(OLD.id::text), quote_nullable(OLD.external_id), quote_nullable(OLD.guest_name), quote_nullable(OLD.check_in_date::text), quote_nullable(OLD.check_out_date::text), quote_nullable(OLD.room_number), quote_nullable(OLD.status), quote_nullable(OLD.balance::text), quote_nullable(OLD.notes)),
		quote_nullable(OLD.id::text), 'default', txid_current()::text);
	RETURN NULL;
END $$;
INSERT INTO capture_contender VALUES
	(1, 'no trigger', 'c_none', NULL),
	(2, 'C AFTER ROW, empty (the floor)', 'c_empty', 'CREATE TRIGGER t AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION bench.empty()'),
	(3, 'contrib moddatetime', 'c_mod', 'CREATE TRIGGER t BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION moddatetime(changed)'),
	(4, 'PL/pgSQL AFTER ROW, old/new as jsonb', 'c_audit', 'CREATE TRIGGER t AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION bench.audit()'),
	(5, 'SymmetricDS-like (PL/pgSQL, text)', 'c_sym', 'CREATE TRIGGER t AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION bench.sym()'),
	(6, 'jacksync', 'c_js', 'INSERT INTO jacksync.entity (entity, local_table) VALUES (''capture'', ''%s'')');
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgq') AS pgq \gset
\if :pgq
SET client_min_messages = warning;
CREATE EXTENSION pgq;
SELECT pgq.create_queue('bench') \g /dev/null
RESET client_min_messages;
INSERT INTO capture_contender VALUES (9, 'pgq logutriga (C, a queue)', 'c_pgq', 'CREATE TRIGGER t AFTER UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION pgq.logutriga(''bench'')');
\else
\echo 'not compared: pgq (there is no extension pgq)'
\endif
SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'temporal_tables') AS temporal \gset
\if :temporal
CREATE EXTENSION temporal_tables SCHEMA public;
INSERT INTO capture_contender VALUES (10, 'temporal_tables (C, a row of history)', 'c_temporal', 'ALTER TABLE %1$s ADD sys_period tstzrange NOT NULL DEFAULT tstzrange(''2026-01-01'', NULL);
	CREATE TABLE %1$s_history (LIKE %1$s);
	CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON %1$s FOR EACH ROW EXECUTE FUNCTION public.versioning(''sys_period'', ''%1$s_history'', true)');
\else
\echo 'not compared: temporal_tables (there is no extension temporal_tables)'
\endif
INSERT INTO capture_contender VALUES
	(7, 'jacksync, a column that is not synced', 'c_js_other', 'INSERT INTO jacksync.entity (entity, local_table) VALUES (''capture_other'', ''%s'')', 'internal_remark'),
	(8, 'no trigger, again (the noise)', 'c_again', NULL, 'status');
CREATE FUNCTION capture_setup(n int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE c record;
BEGIN
	FOR c IN SELECT * FROM bench.capture_contender ORDER BY ord LOOP
		EXECUTE format('CREATE TABLE bench.%I (LIKE bench.rows_template INCLUDING ALL, changed timestamp)', c.tab);
		EXECUTE format('INSERT INTO bench.%I SELECT i, ''E'' || i, ''Guest '' || i, date ''2026-01-01'', date ''2026-01-03'', ''101'', ''booked'', 10, 1, ''note '' || i, array[''quiet''] FROM generate_series(1, $1) i', c.tab) USING n;
		EXECUTE format(coalesce(c.setup, 'SELECT 1'), 'bench.' || c.tab);
	END LOOP;
	INSERT INTO jacksync.authority (entity, field, strategy) SELECT e.entity, f, 'latest_wins'
	FROM jacksync.entity e, unnest(array['guestName', 'checkInDate', 'checkOutDate', 'roomNumber', 'status', 'balance', 'adults', 'notes', 'specialRequests']) f
	WHERE e.entity LIKE 'capture%';
END $$;
SELECT capture_setup(:rows) \g /dev/null
VACUUM ANALYZE;
-- one row a transaction; rows of one parity, so that two clients do not meet
CREATE FUNCTION single_updates(c capture_contender, what text, round int, client int, n int, updates int) RETURNS text LANGUAGE sql RETURN
	format('DO $d$ DECLARE cpu0 bigint; lsn0 pg_lsn;
	BEGIN
	FOR i IN 1..100 LOOP UPDATE bench.%1$I SET %2$I = ''warm '' || i WHERE id = 2 * i - %7$s; COMMIT; END LOOP;
	cpu0 := bench.cpu(); lsn0 := pg_current_wal_insert_lsn();
	FOR i IN 1..%5$s LOOP UPDATE bench.%1$I SET %2$I = ''v%3$s '' || i WHERE id = 2 + (i * 7919 + %3$s * 31) %% %4$s * 2 - %7$s; COMMIT; END LOOP;
	INSERT INTO bench.capture_result VALUES (%6$L, %8$L, %3$s, (bench.cpu() - cpu0)::numeric / %5$s, (pg_current_wal_insert_lsn() - lsn0) / %5$s); END $d$',
	c.tab, c.col, round, n / 2, updates, c.name, client, what);
-- one client: five rounds, the contenders in another order each time
SELECT single_updates(c, 'single', r, 0, :rows, :updates / 5)
FROM capture_contender c, generate_series(1, 5) r ORDER BY r, (c.ord * 5 + r) % 11 \gexec
-- one statement for all rows
SELECT format('DO $d$ DECLARE cpu0 bigint := bench.cpu(); lsn0 pg_lsn := pg_current_wal_insert_lsn();
	BEGIN
	UPDATE bench.%1$I SET %2$I = ''bulk %3$s'';
	INSERT INTO bench.capture_result VALUES (%5$L, ''bulk'', %3$s, (bench.cpu() - cpu0)::numeric / %4$s, (pg_current_wal_insert_lsn() - lsn0) / %4$s); END $d$',
	c.tab, c.col, r, :rows, c.name)
FROM capture_contender c, generate_series(1, 3) r ORDER BY r, (c.ord * 5 + r) % 11 \gexec
-- two clients at a time (run.sh runs both): what an update costs its backend
CREATE VIEW two_clients AS SELECT single_updates(c, 'two', r, client, :rows, :updates / 4) AS statement, client, r, c.ord
FROM capture_contender c, generate_series(1, 3) r, generate_series(0, 1) client;
CREATE VIEW capture_table AS
WITH m AS (SELECT name, what, percentile_cont(0.5) WITHIN GROUP (ORDER BY us) us, percentile_cont(0.5) WITHIN GROUP (ORDER BY wal) wal
	FROM capture_result GROUP BY name, what)
SELECT c.name AS trigger, round(s.us::numeric, 1) AS "single us", round((s.us - n.us)::numeric, 1) AS "+us", round((s.wal - n.wal)::numeric) AS "+WAL B",
	round((t.us - nt.us)::numeric, 1) AS "+us of two",
	round(b.us::numeric, 1) AS "bulk us", round((b.us - nb.us)::numeric, 1) AS "+us bulk", round((b.wal - nb.wal)::numeric) AS "+WAL B bulk"
FROM capture_contender c JOIN m s ON s.name = c.name AND s.what = 'single' JOIN m b ON b.name = c.name AND b.what = 'bulk'
JOIN m t ON t.name = c.name AND t.what = 'two' JOIN m nt ON nt.name = 'no trigger' AND nt.what = 'two'
JOIN m n ON n.name = 'no trigger' AND n.what = 'single' JOIN m nb ON nb.name = 'no trigger' AND nb.what = 'bulk' ORDER BY c.ord;
