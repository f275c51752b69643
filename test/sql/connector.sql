-- Servers, user mappings, and what is made of the values of a record.
SET client_min_messages = warning;
\set SHOW_CONTEXT never

-- every option is known by name and value
CREATE SERVER s FOREIGN DATA WRAPPER jacksync;
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_ur 'https://x.example');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', password 'SECRET');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', client_secrt 'SECRET');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', secret_key 'SECRET');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', whatever_it_is '1');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'ftp://x.example');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://jack:SECRET@x.example');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example/api?key=SECRET');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'oauth');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'oauth2_client_credentials');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'session_token');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'bearer', token_url 'https://x.example/t');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', api_key_name 'X-Key');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'api_key', api_key_name 'X Key');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'api_key', api_key_in 'body');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', ca_file 'ca.pem');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', timeout 'soon');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', rate_limit '5');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', max_concurrency '0');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', max_response_size '2GB');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', allow_http 'maybe');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', headers '{"X-Key": "SECRET"');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', headers '["SECRET"]');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', headers '{"X Key": "SECRET"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', headers '{"X-Key": "SECRET\r\nX-More: 1"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', headers '{"Host": "other.example"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'session_token', token_request '{"path": "/login"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'session_token', token_request '{"path": "/login", "token_path": "$[", "method": "GET"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example', auth 'session_token', token_request '{"path": "/login", "token_path": "$.t", "token_headr": "X"}');
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'smtp://x.example', auth 'bearer');

-- all that is right
CREATE SERVER s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://x.example/api', auth 'session_token',
	token_request '{"method": "GET", "path": "/login", "headers": {"refreshToken": "{secret.refresh}"}, "token_path": "$.token", "token_header": "token", "expires_path": "$.expiresIn", "lifetime": 600}',
	rate_limit '5/1s', max_concurrency '1', connect_timeout '500ms', timeout '90', max_response_size '64MB', ca_file '/etc/ca.pem',
	allow_http 'false', allow_private_address 'true', headers '{"x-app-key": "{secret.app}"}', param_hotel 'HOTEL1');
ALTER SERVER s OPTIONS (SET timeout 'never');
ALTER SERVER s OPTIONS (DROP token_request);

-- secrets: any name behind secret_; files for superusers only; values are never shown
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (base_url 'https://x.example');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (passwort 'SECRET');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS ("secret_a b" 'SECRET');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (secret_app 'file:app');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (secret_app 'SECRET', secret_refresh 'file:/nowhere/refresh', password '');
CREATE ROLE regress_hotelier;
GRANT USAGE ON FOREIGN SERVER s TO regress_hotelier;
ALTER SERVER s OWNER TO regress_hotelier;
SET ROLE regress_hotelier;
CREATE USER MAPPING FOR regress_hotelier SERVER s OPTIONS (secret_app 'file:/etc/passwd');
CREATE USER MAPPING FOR regress_hotelier SERVER s OPTIONS (secret_app 'SECRET');
RESET ROLE;
DROP USER MAPPING FOR regress_hotelier SERVER s;
DROP SERVER s CASCADE;
DROP ROLE regress_hotelier;

-- stream.fields: coercions, both ways
CREATE SERVER inn FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://inn.example');
CREATE TABLE stay (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text UNIQUE,
	guest text, status text, adults int, total numeric(10,2), paid boolean, arrival date, checked_in timestamptz,
	noted timestamp, birthday date, email text, extra jsonb, tags text[]);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('stay', 'stay');
INSERT INTO jacksync.stream (entity, server, request, primary_key, cursor_path, datetime_zone, fields) VALUES ('stay', 'inn', '{"path": "/s"}',
	'$.ids[*] ? (@.type == "Reservation").id', '$.modified', 'Europe/Prague', $${
	"guest": {"paths": ["$.name.first", "$.name.last"], "separator": " "},
	"status": {"path": "$.state", "map": {"CKIN": "checked_in", "RES": "confirmed", "7": "no_show"}, "map_default": "other"},
	"arrival": {"path": "$.startUtc", "zone": "Europe/Prague"},
	"checkedIn": {"path": "$.checkin", "zone": "America/New_York", "format": "DD.MM.YYYY HH24:MI", "null_values": ["0001-01-01T00:00:00", ""]},
	"noted": {"path": "$.noted", "zone": "Europe/Prague"},
	"birthday": {"path": "$.birth", "null_values": ["0001-01-01", "0000-00-00"], "blank_is_null": true},
	"email": {"path": "$.mail", "default": null, "blank_is_null": true},
	"tags": {"path": "$.tags", "default": []},
	"total": "$.amounts.total"}$$);
SELECT external_id, field, pms FROM jacksync.preview('stay', $$[
	{"ids": [{"type": "Confirmation", "id": "813595"}, {"type": "Reservation", "id": 571062}], "modified": "2022-02-22T14:00:43.4854081+01:00",
	 "name": {"first": "Ada", "last": null}, "state": "CKIN", "adults": "2", "paid": "true", "startUtc": "2026-02-03T23:00:00Z",
	 "checkin": "2026-07-01 15:00:00.0", "noted": "2026-07-01T10:00:00Z", "birth": "0000-00-00", "mail": "  ", "extra": {"a": [1, {"b": null}]},
	 "tags": ["x"], "amounts": {"total": "3474.00"}},
	{"ids": [{"type": "Reservation", "id": "571063"}], "modified": "",
	 "name": {"first": "Bo", "last": "Li"}, "state": "NEW", "adults": 2.0, "paid": false, "startUtc": "2026-02-03",
	 "checkin": "0001-01-01T00:00:00", "noted": 1692268510605, "birth": "1983-12-31", "amounts": {"total": 12.5}},
	{"ids": [{"type": "Reservation", "id": "571064"}], "state": 7, "checkin": "2026-07-01T15:00:00Z", "amounts": [{"total": 1}, {"total": 2}], "birth": ""}
	]$$, 'inn') ORDER BY 1, 2;
SELECT (r).created, (r).errors FROM (SELECT jacksync.apply('stay', '[{"ids": [{"type": "Reservation", "id": 9}]}]', 'inn') AS r) x;
SELECT (r).created, (r).unchanged + (r).updated AS known FROM (SELECT jacksync.apply('stay', '[{"ids": [{"type": "Reservation", "id": "9"}]}]', 'inn') AS r) x;
UPDATE jacksync.stream SET fields = '{"guest": {"path": "$.g", "format": "YYYY"}}';
UPDATE jacksync.stream SET fields = '{"guest": {"path": "$.g", "null_values": "x"}}';
UPDATE jacksync.stream SET response_rules = '[{"status": [404, 410], "action": "fail_record"}, {"predicate": "$.success == false", "action": "retry"}]';
DELETE FROM jacksync.entity WHERE entity = 'stay';
DROP TABLE stay;
DROP SERVER inn;
