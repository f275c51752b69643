-- servers, entities, streams and maintenance windows as code
SET client_min_messages = warning;
CREATE TABLE docs (id bigint PRIMARY KEY, external_id text, name text, gone boolean);
SELECT jacksync.load_config('{"sync": {
	"servers": {"inn": {"base_url": "https://inn.example.com/api", "auth": "bearer", "rate_limit": "5/1s"}},
	"entities": {"docs": {"localTable": "public.docs", "onPmsDelete": "mark", "deletedColumn": "gone"}},
	"streams": [{"entity": "docs", "server": "inn", "pollInterval": "30 s", "recordPath": "$.data[*]",
		"request": {"path": "/docs", "query": {"since": "{since}"}},
		"push": {"read": {"path": "/docs/{record.id}"}, "update": {"method": "PATCH", "path": "/docs/{record.id}", "constants": {"note": null}}}}],
	"maintenance": [{"server": "inn", "starts": "02:00", "ends": "03:30", "zone": "Europe/Vienna"}],
	"authority": {"merge_fields": ["docs.name"]}}}');
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'inn';
SELECT entity, local_table, on_pms_delete, deleted_column, on_local_edit FROM jacksync.entity;
SELECT entity, server, poll_interval, record_path, push FROM jacksync.stream;
-- given back as it is
SELECT jsonb_pretty(jacksync.export_config() #> '{sync,streams}');
SELECT jacksync.export_config() #> '{sync,servers}', jacksync.export_config() #> '{sync,entities}', jacksync.export_config() #> '{sync,maintenance}';
-- twice changes nothing
CREATE TEMPORARY TABLE before AS SELECT jacksync.export_config() AS doc, (SELECT xmin::text FROM jacksync.stream) AS x, (SELECT xmin::text FROM pg_foreign_server WHERE srvname = 'inn') AS y;
SELECT jacksync.load_config(doc) FROM before;
SELECT doc = jacksync.export_config() AS same, x = (SELECT xmin::text FROM jacksync.stream) AND y = (SELECT xmin::text FROM pg_foreign_server WHERE srvname = 'inn') AS untouched FROM before;
-- from nothing, out of the document alone
DELETE FROM jacksync.entity;
DELETE FROM jacksync.maintenance_window;
DELETE FROM jacksync.authority;
DROP SERVER inn;
SELECT jacksync.load_config(doc) FROM before;
SELECT doc = jacksync.export_config() AS same FROM before;
-- options that are not named any more go
SELECT jacksync.load_config('{"sync": {"servers": {"inn": {"base_url": "https://inn.example.com/v2", "auth": "bearer"}}}}');
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'inn';
-- bad documents change nothing and say where
\set SHOW_CONTEXT never
SELECT jacksync.load_config('{"sync": {"servers": {"other": {"base_url": "https://x.example.com", "rate_limt": "1/1s"}}}}');
SELECT jacksync.load_config('{"sync": {"servers": {"other": {"base_url": "https://x.example.com"}}, "streams": [{"entity": "docs", "server": "inn", "pol": "1 s"}]}}');
SELECT jacksync.load_config('{"sync": {"streams": [{"entity": "docs", "server": "inn", "request": {"path": "/d"}, "recordPath": "$.["}]}}');
SELECT jacksync.load_config('{"sync": {"entities": {"more": {"localTable": "public.no_such_table"}}}}');
SELECT jacksync.load_config('{"sync": {"entities": {"docs": {"onPmsDelete": "explode"}}}}');
SELECT count(*) FROM pg_foreign_server WHERE srvname = 'other';
DELETE FROM jacksync.entity;
DELETE FROM jacksync.maintenance_window;
DELETE FROM jacksync.authority;
DROP TABLE docs;
DROP SERVER inn;
