-- freshness: how old the data is, what that forbids, and overrides
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE reservations (id int PRIMARY KEY, external_id text, room_number text, hotel text);
CREATE TABLE rooms (id int PRIMARY KEY, external_id text);
CREATE SERVER north FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://north.example');
CREATE SERVER south FOREIGN DATA WRAPPER jacksync OPTIONS (base_url 'https://south.example');
INSERT INTO jacksync.entity (entity, local_table, property_column) VALUES
	('reservations', 'reservations', 'hotel'), ('rooms', 'rooms', NULL);
INSERT INTO jacksync.stream (entity, server, request, property_value) VALUES
	('reservations', 'north', '{"path": "/r"}', 'N'),
	('reservations', 'south', '{"path": "/r"}', 'S');
INSERT INTO jacksync.stale_policy VALUES
	('reservations', '300 s', '3600 s', '{check_in,billing}');

CREATE FUNCTION synced(seconds numeric, srv name DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
	UPDATE jacksync.stream_state t SET last_sync_at = clock_timestamp() - seconds * interval '1 s'
	FROM jacksync.stream s WHERE s.stream_id = t.stream_id AND (srv IS NULL OR s.server = srv)
$$;
CREATE FUNCTION fresh(entity text, operation text DEFAULT NULL, server name DEFAULT NULL,
	OUT status text, OUT can boolean, OUT warning text) LANGUAGE sql AS $$
	SELECT status, can_perform_operation, warning FROM jacksync.check_freshness(entity, operation, server)
$$;

-- words for ages
SELECT s, jacksync.age_text(s * interval '1 s')
FROM unnest('{0,0.4,1,1.4,45,59.4,59.6,60,89,90,420,3600,4500,7169,7171,10800,90000,171000,172800,864000}'::numeric[]) AS s;

-- never synchronised; the oldest server counts
SELECT * FROM fresh('reservations', 'check_in');
SELECT synced(10, 'north');
SELECT * FROM fresh('reservations', 'check_in');
SELECT * FROM fresh('reservations', 'check_in', 'north');
SELECT synced(420, 'south');
SELECT * FROM fresh('reservations', 'check_in');
SELECT synced(4500, 'south');
SELECT * FROM fresh('reservations', 'check_in');
SELECT * FROM fresh('reservations', 'print_menu');
SELECT * FROM fresh('reservations');
SELECT last_sync_at < now(), stale_age BETWEEN '75 min' AND '76 min' AS age FROM jacksync.check_freshness('reservations');
-- a server that was switched off does not count, unless there is no other
UPDATE jacksync.stream SET enabled = false WHERE server = 'south';
SELECT * FROM fresh('reservations', 'check_in');
UPDATE jacksync.stream SET enabled = false;
SELECT * FROM fresh('reservations', 'check_in');
UPDATE jacksync.stream SET enabled = true;
-- a clock that went back closes the gate
SELECT synced(-7200);
SELECT * FROM fresh('reservations', 'check_in');
SELECT synced(-2);
SELECT * FROM fresh('reservations', 'check_in');

-- without a policy the thresholds of alerts count, and no operation is forbidden
SELECT * FROM fresh('rooms', 'housekeeping');
INSERT INTO jacksync.stream (entity, server, request) VALUES ('rooms', 'north', '{"path": "/rooms"}');
SELECT synced(280);
SELECT * FROM fresh('rooms');
SELECT synced(302);
SELECT * FROM fresh('rooms');
SELECT synced(3602);
SELECT * FROM fresh('rooms', 'housekeeping');

-- a policy alone is enough
INSERT INTO jacksync.stale_policy VALUES ('guests', '900 s', '1 day', '{loyalty_lookup}');
SELECT * FROM fresh('guests', 'loyalty_lookup');
SELECT * FROM fresh('nothing');
SELECT * FROM fresh('rooms', NULL, 'south');

-- require_fresh
SELECT synced(4500);
SELECT jacksync.require_fresh('reservations', 'print_menu');
DO $$
BEGIN
	PERFORM jacksync.require_fresh('reservations', 'check_in');
EXCEPTION WHEN SQLSTATE 'JS001' THEN
	RAISE WARNING 'JS001: %', SQLERRM;
END
$$;
SELECT jacksync.require_fresh('reservations', 'check_in');
SELECT jacksync.require_fresh('reservations');
SELECT synced(4500, 'south'), synced(1, 'north');
SELECT jacksync.require_fresh('reservations', 'check_in', 'north');

-- overrides are for operators, and audited
CREATE ROLE regress_jacksync_desk;
CREATE ROLE regress_jacksync_manager;
SELECT jacksync.grant_access('regress_jacksync_desk', 'reader');
SELECT jacksync.grant_access('regress_jacksync_manager', 'operator');
SET ROLE regress_jacksync_desk;
SELECT status, can_perform_operation FROM jacksync.check_freshness('reservations', 'check_in');
SELECT entity, server, status, message FROM jacksync.status ORDER BY 1, 2;
BEGIN;
SET LOCAL jacksync.override = 'guest waits';
SELECT jacksync.require_fresh('reservations', 'check_in');
ROLLBACK;
SELECT jacksync.audit_override('reservations', 'check_in', NULL, 'x');
SELECT * FROM jacksync.stream_state;
RESET ROLE;
SET ROLE regress_jacksync_manager;
BEGIN;
SET LOCAL jacksync.override = 'guest waits';
SELECT jacksync.require_fresh('reservations', 'check_in');
COMMIT;
SELECT jacksync.require_fresh('reservations', 'check_in');
RESET ROLE;
SELECT operation, entity, server, after_state, resolved_by FROM jacksync.audit_log WHERE resolved_by LIKE 'regress%';

-- headers
UPDATE jacksync.stream_state SET last_sync_at = NULL;
SELECT jacksync.freshness_headers('rooms');
SELECT synced(0);
SELECT h -> 0, h #>> '{1,X-Last-Sync}' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$'
FROM jacksync.freshness_headers('rooms') AS h;
BEGIN;
SET LOCAL response.headers = '[{"Cache-Control": "no-store"}]';
SELECT jacksync.set_freshness_headers('rooms');
SELECT h -> 0, h -> 1, jsonb_array_length(h) FROM (SELECT current_setting('response.headers')::jsonb) AS x (h);
COMMIT;

-- as PostgREST calls it before every request: those that read are in a read-only transaction
BEGIN READ ONLY;
SET LOCAL request.path = '/rooms';
SELECT jacksync.pre_request();
SELECT current_setting('response.headers')::jsonb -> 0 AS header;
ROLLBACK;
BEGIN;
SET LOCAL request.path = '/rpc/something';
SELECT jacksync.pre_request();
SELECT current_setting('response.headers', true);
ROLLBACK;

-- guards
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'room_change', '{room_number}', 'OLD.room_number IS NOT NULL');
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'x', '{room_no}');
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'x', '{room_number}', 'true; DROP TABLE rooms');
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'x', '{room_number}', 'NEW.nothing = 1');
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'x', '{room_number}', 'NEW.id');
UPDATE jacksync.stale_policy SET affected_operations = '{check_in,billing,room_change}' WHERE entity = 'reservations';
SELECT synced(10);
INSERT INTO reservations VALUES (1, NULL, '101', 'N'), (2, NULL, NULL, 'S');
SELECT synced(4500, 'south');
-- the server of the row counts; a write that is no operation may go on, whatever the age
UPDATE reservations SET room_number = '102' WHERE id = 1;
UPDATE reservations SET room_number = '201' WHERE id = 2;
UPDATE reservations SET room_number = '202' WHERE id = 2;
UPDATE reservations SET external_id = 'x' WHERE id = 2;
UPDATE reservations SET room_number = room_number WHERE id = 2;
SELECT * FROM reservations ORDER BY id;
-- inside the transaction, with its SQLSTATE; all of the statement or nothing
DO $$
BEGIN
	UPDATE reservations SET room_number = '300';
EXCEPTION WHEN SQLSTATE 'JS001' THEN
	RAISE WARNING '%: %', SQLSTATE, SQLERRM;
END
$$;
SELECT * FROM reservations ORDER BY id;
-- without a condition: every write of the column, an INSERT with a value too
UPDATE jacksync.operation_guard SET condition = NULL;
INSERT INTO reservations VALUES (3, NULL, '1', 'S');
INSERT INTO reservations VALUES (3, NULL, NULL, 'S');
-- who may write the table, but nothing of jacksync, is refused all the same
GRANT ALL ON reservations TO regress_jacksync_desk;
SET ROLE regress_jacksync_desk;
UPDATE reservations SET room_number = '301' WHERE id = 2;
SET jacksync.override = 'because';
UPDATE reservations SET room_number = '301' WHERE id = 2;
RESET jacksync.override;
RESET ROLE;
-- an operator with a reason may, and is audited
GRANT ALL ON reservations TO regress_jacksync_manager;
SET ROLE regress_jacksync_manager;
BEGIN;
SET LOCAL jacksync.override = 'leak in the bathroom';
UPDATE reservations SET room_number = '301' WHERE id = 2;
COMMIT;
UPDATE reservations SET room_number = '302' WHERE id = 2;
RESET ROLE;
SELECT entity, server, after_state, resolved_by FROM jacksync.audit_log ORDER BY audit_id DESC LIMIT 1;
ALTER TABLE reservations ALTER id SET DEFAULT 7;
-- sync itself is never refused, nor is a condition more than the owner of the table
SELECT created, errors FROM jacksync.apply('reservations', '[{"id": 7, "roomNumber": "9", "hotel": "S"}]', 'south');
CREATE FUNCTION spy() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'as %', current_user; RETURN true; END $$;
ALTER TABLE reservations OWNER TO regress_jacksync_desk;
UPDATE jacksync.operation_guard SET condition = 'public.spy()';
UPDATE reservations SET room_number = '303' WHERE id = 2;
SET ROLE regress_jacksync_manager;
INSERT INTO jacksync.operation_guard VALUES ('reservations', 'x', '{room_number}', 'public.spy()');
RESET ROLE;
-- a condition that fails says whose it is
UPDATE jacksync.operation_guard SET condition = '1 / (NEW.id - 2) = 1';
UPDATE reservations SET room_number = '303' WHERE id = 2;
\set SHOW_CONTEXT always
UPDATE reservations SET room_number = '303' WHERE id = 2;
\set SHOW_CONTEXT never
-- of a table that is bound later
DELETE FROM jacksync.operation_guard;
INSERT INTO jacksync.operation_guard VALUES ('late', 'x', '{nowhere}');
CREATE TABLE late (id int PRIMARY KEY, external_id text);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('late', 'late');
DROP TABLE late;

DELETE FROM jacksync.entity;
DELETE FROM jacksync.stale_policy;
DELETE FROM jacksync.operation_guard;
DROP SERVER north;
DROP SERVER south;
DROP TABLE reservations, rooms;
DROP FUNCTION spy;
DROP FUNCTION synced(numeric, name);
DROP FUNCTION fresh(text, text, name);
SELECT jacksync.revoke_access('regress_jacksync_desk');
SELECT jacksync.revoke_access('regress_jacksync_manager');
DROP OWNED BY regress_jacksync_desk;
DROP ROLE regress_jacksync_desk;
DROP ROLE regress_jacksync_manager;
