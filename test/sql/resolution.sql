/* What people do with decisions: constraints, groups, urgency, undo, explain, another rule */
CREATE TABLE stay
(
	id			integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id	text UNIQUE,
	arrival		date,
	departure	date,
	nights		integer,
	room		text NOT NULL DEFAULT '-',
	tags		text[] CONSTRAINT few_tags CHECK (cardinality(tags) <= 3),
	rate		numeric(8,2),
	note		text,
	mood		text,
	CONSTRAINT stay_dates CHECK (arrival < departure)
);
INSERT INTO jacksync.entity (entity, local_table, urgency_column) VALUES ('stay', 'stay', 'arrival');
INSERT INTO jacksync.authority (entity, field, strategy, field_group, rationale) VALUES
	('stay', 'arrival', 'pms_wins', NULL, NULL), ('stay', 'departure', 'latest_wins', NULL, NULL),
	('stay', 'tags', 'merge', NULL, NULL), ('stay', 'room', 'pms_wins', NULL, 'the PMS assigns rooms'),
	('stay', 'note', 'manual', NULL, NULL), ('stay', 'mood', 'local_wins', NULL, NULL);
CREATE FUNCTION applied(records jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT format('created %s updated %s unchanged %s conflicts %s errors %s', created, updated, unchanged, conflicts, errors)
	FROM jacksync.apply('stay', records)
$$;
CREATE VIEW held AS
	SELECT external_id, field, field_group, reason, base_value, local_value, pms_value FROM jacksync.open_conflict;

-- a mixture of both sides that breaks a CHECK is held, all of its columns; the rest goes on
SELECT applied('[{"id": "S1", "arrival": "2026-05-01", "departure": "2026-05-04", "tags": ["a"], "room": "101", "note": "n", "mood": "m", "rate": 10},
	{"id": "S2", "arrival": "2026-04-01", "departure": "2026-04-04", "tags": ["a", "b"], "room": "102", "note": "n", "rate": 20}]');
UPDATE stay SET departure = '2026-05-02' WHERE external_id = 'S1';
UPDATE stay SET tags = '{a,b,c}' WHERE external_id = 'S2';
SELECT field, resolved, outcome FROM jacksync.preview('stay', '[{"id": "S1", "arrival": "2026-05-03", "departure": "2026-05-04", "room": "201"}]');
SELECT applied('[{"id": "S1", "arrival": "2026-05-03", "departure": "2026-05-04", "room": "201"},
	{"id": "S2", "tags": ["a", "b", "d"], "room": "202"}]');
SELECT * FROM stay ORDER BY id;
SELECT * FROM held;
SELECT count(*) FROM jacksync.sync_error WHERE entity = 'stay';
-- frozen while it is held; nothing is doubled; a side that changes again is seen
SELECT applied('[{"id": "S1", "arrival": "2026-05-03", "departure": "2026-05-05", "room": "301"}]');
SELECT * FROM held;
-- decided together, in one statement
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'arrival'), 'pms');
SELECT arrival, departure, room FROM stay WHERE external_id = 'S1';
SELECT * FROM held;
SELECT applied('[{"id": "S1", "arrival": "2026-05-03", "departure": "2026-05-05", "room": "301"}]');
SELECT * FROM jacksync.changed_fields('{}', '{}');
-- ours: stands though the rule says otherwise, until the PMS changes it
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'tags'), 'local');
SELECT applied('[{"id": "S2", "tags": ["a", "b", "d"], "room": "203"}]');
SELECT tags, room FROM stay WHERE external_id = 'S2';
-- a value that breaks the constraint by itself is an error of the record
SELECT applied('[{"id": "S3", "arrival": "2026-05-03", "departure": "2026-05-01"}, {"id": "S2", "room": null}]');
SELECT external_id, sqlstate, state FROM jacksync.sync_error WHERE entity = 'stay' ORDER BY 1;
-- NOT NULL, where we changed it too
UPDATE stay SET room = 'ours' WHERE external_id = 'S1';
SELECT applied('[{"id": "S1", "room": null}]');
SELECT room FROM stay WHERE external_id = 'S1';
SELECT * FROM held;
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'room'), 'pms');
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'room'), 'custom', '"401"');
SELECT room FROM stay WHERE external_id = 'S1';
SELECT count(*) FROM held;

-- a group is held and decided as one
UPDATE jacksync.authority SET strategy = 'manual', field_group = 'dates' WHERE entity = 'stay' AND field IN ('arrival', 'departure');
INSERT INTO jacksync.authority (entity, field, strategy, field_group) VALUES ('stay', 'nights', 'manual', 'dates');
SELECT applied('[{"id": "S1", "arrival": "2026-05-03", "departure": "2026-05-05", "nights": 2}]');
UPDATE stay SET arrival = '2026-06-01', departure = '2026-06-03' WHERE external_id = 'S1';
UPDATE stay SET note = 'ours' WHERE external_id = 'S2';
SELECT applied('[{"id": "S1", "arrival": "2026-07-01", "departure": "2026-07-03", "nights": 2}, {"id": "S2", "note": "theirs"}]');
-- the most urgent first
SELECT external_id, field, urgency FROM jacksync.open_conflict;
UPDATE stay SET arrival = '2026-08-01', departure = '2026-08-09' WHERE external_id = 'S2';
SELECT applied('[{"id": "S2", "note": "theirs", "mood": "x"}]');
SELECT external_id, field, urgency FROM jacksync.open_conflict;
\set VERBOSITY sqlstate
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'departure'), 'custom', '"soon"');
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'departure'), 'custom', '"1999-01-01"');
\set VERBOSITY default
SELECT arrival, departure, nights FROM stay WHERE external_id = 'S1';
SELECT field, status FROM jacksync.manual_conflict WHERE external_id = 'S1' AND field_group = 'dates' ORDER BY field;
SELECT jacksync.resolve_conflicts('stay', 'departure', 'pms');
SELECT arrival, departure, nights FROM stay WHERE external_id = 'S1';
SELECT field, status, resolution FROM jacksync.manual_conflict WHERE external_id = 'S1' AND field_group = 'dates' ORDER BY field;
\set VERBOSITY sqlstate
SELECT jacksync.resolve_conflict((SELECT conflict_id FROM jacksync.open_conflict WHERE field = 'note'), 'custom', '"both"');
SELECT jacksync.resolve_conflict((SELECT max(conflict_id) FROM jacksync.manual_conflict WHERE field = 'departure'), 'pms');
SELECT jacksync.resolve_conflicts('stay', 'note', 'custom');
\set VERBOSITY default

-- undo: what lost comes back, and stands
UPDATE stay SET room = 'suite', mood = 'glad' WHERE external_id = 'S2';
SELECT applied('[{"id": "S2", "room": "999", "mood": "sad"}]');
SELECT audit_id AS room_audit FROM jacksync.audit_log WHERE external_id = 'S2' AND field = 'room' ORDER BY audit_id DESC LIMIT 1 \gset
SELECT audit_id AS mood_audit FROM jacksync.audit_log WHERE external_id = 'S2' AND field = 'mood' ORDER BY audit_id DESC LIMIT 1 \gset
SELECT room, mood FROM stay WHERE external_id = 'S2';
SELECT jacksync.undo(:room_audit), jacksync.undo(:mood_audit);
SELECT room, mood FROM stay WHERE external_id = 'S2';
SELECT operation, field, before_state, after_state, conflict_details ->> 'resolution' AS resolution, resolved_by = current_user AS mine
FROM jacksync.audit_log WHERE external_id = 'S2' ORDER BY audit_id DESC LIMIT 2;
SELECT applied('[{"id": "S2", "room": "999", "mood": "sad", "rate": 21}]');
SELECT room, mood FROM stay WHERE external_id = 'S2';
SELECT applied('[{"id": "S2", "room": "998"}]');
SELECT room FROM stay WHERE external_id = 'S2';
\set VERBOSITY terse
SELECT jacksync.undo(0);
SELECT jacksync.undo(NULL);
SELECT jacksync.undo((SELECT max(audit_id) FROM jacksync.audit_log WHERE field = 'mood'));
SELECT jacksync.undo((SELECT max(audit_id) FROM jacksync.audit_log WHERE field = 'mood'));
\set VERBOSITY sqlstate
SELECT jacksync.undo((SELECT max(audit_id) FROM jacksync.audit_log WHERE field = 'mood') - 1) IS NULL AS again;
\set VERBOSITY terse
UPDATE stay SET note = 'x' WHERE false;
SELECT jacksync.undo((SELECT max(audit_id) FROM jacksync.audit_log WHERE field = 'note'));
\set VERBOSITY default

-- explain: who set it, and what lost
SELECT field_name, value, pms_value, set_by, strategy, rule, lost,
	regexp_replace(lost_by, '\d+', 'N') AS lost_by, conflict_id IS NOT NULL AS held FROM jacksync.explain('stay', 'S2');
UPDATE stay SET rate = 22 WHERE external_id = 'S2';
SELECT value, set_by, explanation FROM jacksync.explain('stay', 'S2', 'rate');
SELECT applied('[{"id": "S2", "rate": 21, "nights": 8}]');
SELECT value, set_by, lost, lost_by FROM jacksync.explain('stay', 'S2', 'rate');
\set VERBOSITY terse
SELECT * FROM jacksync.explain('stay', 'S9');
SELECT * FROM jacksync.explain('stay', 'S2', 'nothing');
SELECT * FROM jacksync.explain('nothing', 'S2');
CREATE ROLE regress_jacksync_reader;
SELECT jacksync.grant_access('regress_jacksync_reader', 'reader');
SET ROLE regress_jacksync_reader;
SELECT * FROM jacksync.explain('stay', 'S2');
SELECT jacksync.row_values('stay', '1');
RESET ROLE;
GRANT SELECT ON stay TO regress_jacksync_reader;
SET ROLE regress_jacksync_reader;
SELECT field_name, value FROM jacksync.explain('stay', 'S2', 'room');
RESET ROLE;
ALTER TABLE stay ENABLE ROW LEVEL SECURITY;
SET ROLE regress_jacksync_reader;
SELECT field_name, value FROM jacksync.explain('stay', 'S2', 'room');
RESET ROLE;
ALTER TABLE stay DISABLE ROW LEVEL SECURITY;
\set VERBOSITY default

-- another rule over the past
UPDATE stay SET mood = 'calm' WHERE external_id IN ('S1', 'S2');
SELECT applied('[{"id": "S1", "mood": "sad", "updatedAt": "2999-01-01T00:00:00Z"}, {"id": "S2", "mood": "", "updatedAt": "2000-01-01T00:00:00Z"}]');
SELECT external_id, base, local, pms, decided, would_decide, different FROM jacksync.preview_rule('stay', 'mood', 'pms_wins');
SELECT s AS strategy, b AS unless_blank, jacksync.preview_rule_summary('stay', 'mood', s, b)
FROM unnest('{pms_wins,local_wins,latest_wins,manual,merge}'::jacksync.strategy[]) s, unnest('{f,t}'::boolean[]) b
WHERE NOT (b AND s IN ('merge', 'manual'));
SELECT jacksync.preview_rule_summary('stay', 'nothing', 'pms_wins');

-- the audit log is nobody's to change
SET ROLE regress_jacksync_reader;
DELETE FROM jacksync.audit_log;
INSERT INTO jacksync.audit_log (operation) VALUES ('sync');
RESET ROLE;
UPDATE jacksync.audit_log SET field = 'x';
TRUNCATE jacksync.audit_log;

DELETE FROM jacksync.entity WHERE entity = 'stay';
DELETE FROM jacksync.authority WHERE entity = 'stay';
DROP VIEW held;
DROP TABLE stay;
DROP FUNCTION applied;
SELECT jacksync.revoke_access('regress_jacksync_reader');
DROP ROLE regress_jacksync_reader;
