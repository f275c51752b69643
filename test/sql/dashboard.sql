-- the page: well-formed, complete, and nothing in it but text
SET client_min_messages = warning;
DELETE FROM jacksync.sync_error;
DELETE FROM jacksync.manual_conflict;
DELETE FROM jacksync.alert;
DELETE FROM jacksync.sync_run;
SELECT p LIKE '<!DOCTYPE html>%' AS html, xmlparse(document p) IS NOT NULL AS well_formed,
	p ~ 'Nothing is synchronised yet' AND p ~ 'No open conflicts' AND p ~ 'No alerts' AND p ~ 'No dead letters'
		AND p ~ 'No record is late' AND p ~ 'The worker does not run' AS says_so
FROM jacksync.dashboard_html() AS p;

CREATE TABLE stays (id int PRIMARY KEY DEFAULT 1, external_id text, name text);
CREATE SERVER "<script>alert(1)</script>" FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('"><img src=x onerror=alert(2)>', 'stays');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('"><img src=x onerror=alert(2)>', '<script>alert(1)</script>', '{"path": "/"}');
UPDATE jacksync.stream_state SET failure_count = 5, last_error = '</p></section><script>alert(3)</script>' || E'\u202E&amp;\u0007', last_sync_at = now() - interval '75 min';
INSERT INTO jacksync.manual_conflict (record_id, entity, server, external_id, field, base_value, local_value, pms_value)
	SELECT -i, '"><img src=x onerror=alert(2)>', '<script>alert(1)</script>', '</td>' || i, 'name', '"it''s"', '"</pre><script>alert(4)</script>"',
		to_jsonb(repeat('long ', 2000)) FROM generate_series(1, 60) i;
INSERT INTO jacksync.sync_error (entity, server, external_id, sqlstate, error, state)
	VALUES ('"><img src=x onerror=alert(2)>', '<script>alert(1)</script>', '<b>', '22P02', '<script>alert(5)</script>', 'dead');
SELECT jacksync.alert_raise('consecutive_failures', 'critical', '<script>alert(6)</script>', 'PMS sync has failed 5 consecutive times. <u>',
	'"><img src=x onerror=alert(2)>', '<script>alert(1)</script>') > 0 AS raised;
INSERT INTO jacksync.sync_run (entity, server, started, success, records_processed)
	SELECT s.entity, s.server, now() - i * interval '7 min', i % 50 <> 0, 10 FROM jacksync.stream s, generate_series(1, 143) i;
SELECT length(p) < 200000 AS bounded, xmlparse(document p) IS NOT NULL AS well_formed,
	p !~* '<(script|img|u|b|iframe|link)[ />]' AS inert, p !~ E'[\u202E\u0007]' AS straight,
	p ~ '&lt;script&gt;alert\(4\)&lt;/script&gt;' AS shown, p ~ '143 runs, 2 failed, 1430 records' AS runs,
	p ~ 'Data is 75 minutes old|&lt;/p&gt;' AS age, p ~ 'class="banner" role="alert">PMS sync has failed 5' AS banner,
	p ~ 'and 10 more' AS more, p ~ '75 minutes ago' AS ago, p ~ 'jacksync.requeue' AND p ~ 'resolve_conflict' AS sql,
	p !~ 'url\(|@import' AND (xpath('count(//@src | //@href)', xmlparse(document p)))[1]::text = '0' AS nothing_loaded
FROM jacksync.dashboard_html() AS p;
-- what an XML parser sees
SELECT (xpath('count(//*[local-name()="article"])', p))[1] AS articles, (xpath('count(//*[local-name()="rect"])', p))[1]::text::int > 15 AS bars,
	(xpath('count(//*[local-name()="pre"])', p))[1] AS values, (xpath('//*[local-name()="pre"]/text()', p))[2] AS local
FROM (SELECT xmlparse(document jacksync.dashboard_html())) AS x (p);
-- readers may see it
CREATE ROLE regress_jacksync_viewer;
SET ROLE regress_jacksync_viewer;
SELECT jacksync.dashboard_html() IS NOT NULL;
RESET ROLE;
SELECT jacksync.grant_access('regress_jacksync_viewer', 'reader');
SET ROLE regress_jacksync_viewer;
SELECT jacksync.dashboard_html() IS NOT NULL AS readable;
SELECT jacksync.dash_text('x');
RESET ROLE;
SELECT jacksync.revoke_access('regress_jacksync_viewer');
DROP ROLE regress_jacksync_viewer;
DELETE FROM jacksync.entity;
DELETE FROM jacksync.manual_conflict;
DELETE FROM jacksync.sync_error;
DELETE FROM jacksync.sync_run;
DELETE FROM jacksync.alert;
DROP SERVER "<script>alert(1)</script>";
DROP TABLE stays;
