/* apply(): the decisions, as a user sees them */
CREATE TABLE res
(
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id		text UNIQUE,
	guest_name		text,
	check_in_date	date,
	balance			numeric(10,2) CHECK (balance > -1000),
	special_requests text[],
	notes			text,
	phone			text,
	housekeeping	text,
	tier			text
);
INSERT INTO jacksync.entity (entity, local_table) VALUES ('res', 'res');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES
	('res', 'guestName', 'pms_wins'), ('res', 'specialRequests', 'merge'), ('res', 'notes', 'merge'),
	('res', 'phone', 'manual'), ('res', 'housekeeping', 'local_wins'), ('res', 'tier', 'latest_wins');

CREATE FUNCTION applied(records jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT format('processed %s created %s updated %s unchanged %s conflicts %s errors %s',
		records_processed, created, updated, unchanged, conflicts, errors)
	FROM jacksync.apply('res', records)
$$;

-- a row that comes for the first time takes all values, those of local_wins too
SELECT applied('[{"id": "R1", "guestName": "Ann", "checkInDate": "2026-12-01", "balance": "100.0",
	"specialRequests": ["a", "b", "c"], "notes": "one\ntwo", "phone": "1", "housekeeping": "clean",
	"tier": "gold", "unknown": {"x": 1}, "updatedAt": "2026-01-01T00:00:00Z"}, {"id": "R2", "guestName": "Bob"}]');
SELECT * FROM res ORDER BY id;
SELECT entity, server, local_id, external_id, sync_status, snapshot FROM jacksync.record ORDER BY external_id;

-- the same again writes nothing; nor do other spellings of the same values
SELECT xmin AS before FROM res WHERE external_id = 'R1' \gset
SELECT applied('[{"id": "R1", "guestName": "Ann", "checkInDate": "2026-12-01", "balance": "100.0",
	"specialRequests": ["a", "b", "c"], "notes": "one\ntwo", "phone": "1", "housekeeping": "clean",
	"tier": "gold", "unknown": {"x": 1}, "updatedAt": "2026-01-01T00:00:00Z"}]');
SELECT applied('[{"updatedAt": "2026-01-01T01:00:00+01:00", "id": "R1", "balance": 100.00, "checkInDate": "2026-12-01",
	"guestName": "\u0041nn", "phone": 1}]');
SELECT xmin = :'before'::xid AS untouched FROM res WHERE external_id = 'R1';

-- both sides change
UPDATE res SET guest_name = 'Local', special_requests = '{a,c,d}', notes = E'one\ntwo\nours', phone = '2',
	housekeeping = 'dirty' WHERE external_id = 'R1';
SELECT sync_status FROM jacksync.record WHERE external_id = 'R1';
SELECT * FROM jacksync.detect_conflict('res', '{"id": "R1", "guestName": "Anna", "phone": "3"}');
SELECT field, base, local, pms, strategy, resolved, outcome FROM jacksync.preview('res',
	'[{"id": "R1", "guestName": "Anna", "specialRequests": ["b", "c", "e"], "notes": "one\ntheirs", "phone": "3", "housekeeping": "inspected"}]');
SELECT guest_name FROM res WHERE external_id = 'R1';
SELECT applied('[{"id": "R1", "guestName": "Anna", "specialRequests": ["b", "c", "e"], "notes": "one\ntheirs", "phone": "3", "housekeeping": "inspected"}]');
SELECT guest_name, special_requests, notes, phone, housekeeping FROM res WHERE external_id = 'R1';
SELECT operation, field, before_state, after_state, conflict_details - 'localUpdatedAt' AS conflict_details, resolved_by FROM jacksync.audit_log WHERE entity = 'res' ORDER BY field;
SELECT field, base_value, local_value, pms_value, status FROM jacksync.manual_conflict;
SELECT sync_status FROM jacksync.record WHERE external_id = 'R1';
SELECT level, message, context - 'conflict_id' AS context FROM jacksync.alert WHERE kind LIKE 'conflict%';

-- a held field is frozen, the others go on; the conflict is updated, not doubled
SELECT applied('[{"id": "R1", "guestName": "Annabel", "phone": "4"}]');
SELECT guest_name, phone FROM res WHERE external_id = 'R1';
SELECT local_value, pms_value, status FROM jacksync.manual_conflict;
-- and closes itself when both sides agree
UPDATE res SET phone = '4' WHERE external_id = 'R1';
SELECT applied('[{"id": "R1", "phone": "4"}]');
SELECT status, resolved_by FROM jacksync.manual_conflict;

-- a person decides
UPDATE res SET phone = '5' WHERE external_id = 'R1';
SELECT applied('[{"id": "R1", "phone": "6"}]');
SELECT conflict_id AS conflict FROM jacksync.manual_conflict WHERE status = 'pending' \gset
SELECT jacksync.resolve_conflict(:conflict, 'both');
\set VERBOSITY terse
SELECT jacksync.resolve_conflict(:conflict, 'custom');
\set VERBOSITY default
SELECT jacksync.resolve_conflict(:conflict, 'custom', '"7"');
SELECT phone FROM res WHERE external_id = 'R1';
\set VERBOSITY sqlstate
SELECT jacksync.resolve_conflict(:conflict, 'pms');
SELECT jacksync.resolve_conflict(0, 'pms');
\set VERBOSITY default
SELECT status, resolution, custom_value FROM jacksync.manual_conflict ORDER BY conflict_id;
SELECT sync_status FROM jacksync.record WHERE external_id = 'R1';

-- latest_wins: the newer side
SELECT applied('[{"id": "R3", "tier": "none", "updatedAt": "2026-01-01T00:00:00Z"}]');
UPDATE res SET tier = 'ours' WHERE external_id = 'R3';
SELECT applied('[{"id": "R3", "tier": "older", "updatedAt": "2026-01-02T00:00:00Z"}]');
SELECT tier FROM res WHERE external_id = 'R3';
SELECT applied('[{"id": "R3", "tier": "newer", "updatedAt": "2999-01-01T00:00:00Z"}]');
SELECT tier FROM res WHERE external_id = 'R3';

-- a bad record does not stop its page
SELECT applied('[{"id": "R4", "guestName": "before"}, {"id": "R5", "checkInDate": "soon"}, {"id": "R6", "balance": -5000},
	{"guestName": "nobody"}, {"id": "R7", "guestName": "after"}]');
SELECT external_id, guest_name FROM res WHERE external_id >= 'R4' ORDER BY 1;
SELECT external_id, sqlstate, error, state, payload FROM jacksync.sync_error WHERE entity = 'res' ORDER BY external_id;
SELECT applied('[{"id": "R5", "checkInDate": "2026-12-24"}]');
SELECT external_id, state FROM jacksync.sync_error WHERE external_id = 'R5';

-- operators: once more, or never again
SELECT error_id AS error FROM jacksync.sync_error WHERE external_id = 'R6' \gset
SELECT jacksync.requeue(:error);
SELECT state, attempts FROM jacksync.sync_error WHERE external_id = 'R6';
SELECT jacksync.discard(:error, '');
SELECT jacksync.discard(:error, 'a test booking');
SELECT state, reason FROM jacksync.sync_error WHERE external_id = 'R6';
\set VERBOSITY sqlstate
SELECT jacksync.requeue(:error);
\set VERBOSITY default

-- absent is not null; null is a change
SELECT applied('[{"id": "R2", "guestName": null}]');
SELECT guest_name IS NULL FROM res WHERE external_id = 'R2';

-- wrong calls
SELECT jacksync.apply('res', '{"id": 1}');
SELECT jacksync.apply('nothing', '[]');
SELECT jacksync.apply('res', '[]', 'nowhere');
TRUNCATE res;
UPDATE jacksync.audit_log SET field = 'x';
DELETE FROM jacksync.audit_log;

-- triggers of the user: what they make of a value is no local change
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.guest_name := upper(NEW.guest_name); RETURN NEW; END $$;
CREATE TRIGGER upper_name BEFORE INSERT OR UPDATE ON res FOR EACH ROW EXECUTE FUNCTION upper_name();
SELECT applied('[{"id": "R8", "guestName": "small"}]');
SELECT guest_name FROM res WHERE external_id = 'R8';
SELECT applied('[{"id": "R8", "guestName": "small", "balance": 1}]');
SELECT sync_status FROM jacksync.record WHERE external_id = 'R8';
SELECT count(*) FROM jacksync.change;

-- pure functions
SELECT jacksync.merge('["a", "c", "d"]', '["b", "c", "e"]', '["a", "b", "c"]');
SELECT jacksync.merge('{"a": 2, "b": 1}', '{"a": 1, "b": 3}', '{"a": 1, "b": 1}');
SELECT jacksync.changed_fields('{"a": 1, "b": 2.0, "d": null}', '{"a": 1.0, "b": 3, "c": 4}');
SELECT s AS strategy, jacksync.resolve(s, '"l"', '"p"', '"b"', '2026-01-02', '2026-01-01') AS both,
	jacksync.resolve(s, '"l"', '"b"', '"b"') AS only_local, jacksync.resolve(s, '"b"', '"p"', '"b"') AS only_pms
FROM unnest(enum_range(NULL::jacksync.strategy)) s;

DELETE FROM jacksync.entity WHERE entity = 'res';
SELECT tgname FROM pg_trigger WHERE tgrelid = 'res'::regclass AND NOT tgisinternal;
DROP TABLE res;
DROP FUNCTION applied, upper_name;
