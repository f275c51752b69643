/* The loads beside each other. */
SET search_path = bench, public;
WITH m AS (
	SELECT contender, max(records) records, percentile_cont(0.5) WITHIN GROUP (ORDER BY cpu / records) cpu,
		percentile_cont(0.5) WITHIN GROUP (ORDER BY wall / records) wall, percentile_cont(0.5) WITHIN GROUP (ORDER BY wal / records) wal
	FROM load_result GROUP BY contender
), rounds AS (
	SELECT l.contender, string_agg(round((r.cpu / l.cpu)::numeric, 2)::text, ' ' ORDER BY l.round) ratios
	FROM load_result l JOIN load_result r USING (round) WHERE r.contender LIKE 'raw%' GROUP BY 1
)
SELECT m.contender, round(1 / m.wall) AS "rec/s wall", round((m.wall * 1e6)::numeric, 1) AS "us wall", round(m.cpu::numeric, 1) AS "us CPU",
	round((r.wall / m.wall)::numeric, 2) AS "wall x raw", round((r.cpu / m.cpu)::numeric, 2) AS "CPU x raw", o.ratios AS "of each round",
	round((a.wall / m.wall)::numeric, 2) AS "wall x apply_page", round(m.wal) AS "WAL B/rec"
FROM m JOIN rounds o USING (contender), m r, m a WHERE r.contender LIKE 'raw%' AND a.contender LIKE 'apply%' ORDER BY m.wall;
