/*
 * What the trigger costs our own apply, which does not want to capture what it
 * writes: the same pages with the trigger and with it disabled.
 */
SET search_path = bench, public;
CREATE TABLE own_result (path text, trigger boolean, us numeric);
CREATE PROCEDURE own_apply(round int, general boolean, enabled boolean, n int) LANGUAGE plpgsql AS $$
DECLARE pages jsonb[]; page jsonb; cpu0 bigint; t text;
BEGIN
	FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'bench.c_js'::regclass AND NOT tgisinternal LOOP
		EXECUTE format('ALTER TABLE bench.c_js %s TRIGGER %I', CASE WHEN enabled THEN 'ENABLE' ELSE 'DISABLE' END, t);
	END LOOP;
	SELECT array_agg(p) INTO pages FROM (SELECT jsonb_agg(jsonb_build_object('id', 'E' || i, 'status', 'apply ' || round)) p
		FROM generate_series(1, n) i GROUP BY (i - 1) / 1000) x;
	COMMIT;
	PERFORM set_config('jacksync.force_general_path', general::text, false);
	cpu0 := bench.cpu();
	FOREACH page IN ARRAY pages LOOP
		PERFORM jacksync.apply('capture', page);
	END LOOP;
	IF round > 0 THEN
		INSERT INTO bench.own_result VALUES (CASE WHEN general THEN 'general' ELSE 'direct' END, enabled, (bench.cpu() - cpu0)::numeric / n);
	END IF;
	COMMIT;
END $$;
-- the first time links are made
CALL own_apply(0, false, true, :rows);
SELECT format('CALL own_apply(%s, %L, %L, %s)', row_number() OVER (), general, enabled, :rows)
FROM generate_series(1, :rounds) r, unnest(array[false, true]) general, unnest(array[true, false]) enabled
ORDER BY r, general, enabled = (r % 2 = 0) \gexec
WITH m AS (SELECT path, trigger, percentile_cont(0.5) WITHIN GROUP (ORDER BY us) us FROM own_result GROUP BY path, trigger)
SELECT a.path, round(b.us::numeric, 1) AS "without us/rec", round(a.us::numeric, 1) AS "with us/rec", round((a.us - b.us)::numeric, 2) AS "+us"
FROM m a JOIN m b USING (path) WHERE a.trigger AND NOT b.trigger ORDER BY 1;
