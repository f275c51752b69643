/* What an initial load is compared with, one after the other. */
SET search_path = bench, public;
CREATE TABLE load_result (contender text, round int, records int, cpu float8, wall float8, wal numeric);
CREATE TABLE copy_rows (LIKE rows_template INCLUDING ALL);
CREATE PROCEDURE load_pages(contender text, func text, dir text, pages int) LANGUAGE plpgsql AS $$
DECLARE
	body text; n int := 0; cpu bigint := 0; wall float8 := 0; cpu0 bigint; wall0 timestamptz; lsn0 pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	FOR page IN 1..pages LOOP
		body := pg_read_file(format('%s/%s.json', dir, page));
		n := n + jsonb_array_length(body::jsonb);
		cpu0 := bench.cpu(); wall0 := clock_timestamp();
		EXECUTE format('SELECT bench.%I($1)', func) USING body;
		COMMIT;
		cpu := cpu + bench.cpu() - cpu0; wall := wall + extract(epoch FROM clock_timestamp() - wall0);
	END LOOP;
	INSERT INTO bench.load_result VALUES (contender, 0, n, cpu, wall, pg_current_wal_insert_lsn() - lsn0);
END $$;
CREATE PROCEDURE load_copy(dir text) LANGUAGE plpgsql AS $$
DECLARE
	n int; cpu0 bigint := bench.cpu(); wall0 timestamptz := clock_timestamp(); lsn0 pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	EXECUTE format('COPY bench.copy_rows (external_id, guest_name, check_in_date, check_out_date, room_number, status, balance, adults, notes, special_requests) FROM %L', dir || '/rows.tsv');
	GET DIAGNOSTICS n = ROW_COUNT;
	COMMIT;
	INSERT INTO bench.load_result VALUES ('COPY of the rows', 0, n, bench.cpu() - cpu0, extract(epoch FROM clock_timestamp() - wall0), pg_current_wal_insert_lsn() - lsn0);
END $$;
CALL load_copy(:'dir');
CALL load_pages('raw upsert of the pages', 'apply_raw', :'dir', :pages);
