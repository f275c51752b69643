/* check_freshness() against a look-up by index. */
SET search_path = bench, public;
CREATE TABLE lookup (k text PRIMARY KEY, v timestamptz);
INSERT INTO lookup SELECT 'entity ' || i, now() FROM generate_series(1, 1000) i;
ANALYZE lookup;
CREATE SERVER pms FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://pms.example.com');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('reservations', 'pms', '{"path": "/reservations"}');
UPDATE jacksync.stream_state SET last_sync_at = now();
DO $$
DECLARE cpu0 bigint; a bigint; b bigint; n int := 20000; x timestamptz; f text;
BEGIN
	IF NOT EXISTS (SELECT FROM jacksync.entity WHERE entity = 'reservations') THEN RETURN; END IF;
	FOR i IN 1..100 LOOP SELECT v INTO x FROM bench.lookup WHERE k = 'entity 5'; SELECT c::text INTO f FROM jacksync.check_freshness('reservations') c; END LOOP;
	cpu0 := bench.cpu();
	FOR i IN 1..n LOOP SELECT v INTO x FROM bench.lookup WHERE k = 'entity 5'; END LOOP;
	a := bench.cpu() - cpu0; cpu0 := bench.cpu();
	FOR i IN 1..n LOOP PERFORM jacksync.check_freshness('reservations'); END LOOP;
	b := bench.cpu() - cpu0;
	RAISE INFO 'index lookup % us, check_freshness % us: % x', round(a::numeric / n, 2), round(b::numeric / n, 2), round(b::numeric / a, 2);
END $$;
