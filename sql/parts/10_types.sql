CREATE TYPE jacksync.strategy AS ENUM
	('pms_wins', 'local_wins', 'merge', 'latest_wins', 'manual');
COMMENT ON TYPE jacksync.strategy IS
'who owns a field, and so how a difference between the table and the PMS is resolved';

CREATE TYPE jacksync.sync_status AS ENUM
	('synced', 'local_modified', 'pms_modified', 'conflict', 'sync_error');
COMMENT ON TYPE jacksync.sync_status IS
'state of one synchronised record';

CREATE TYPE jacksync.sync_result AS
(
	run_id		bigint,
	started		timestamptz,
	completed	timestamptz,
	success		boolean,
	records_processed bigint,
	created		bigint,
	updated		bigint,
	unchanged	bigint,
	pushed		bigint,
	conflicts	bigint,
	errors		bigint,
	error		text
);
COMMENT ON TYPE jacksync.sync_result IS
'what one run did; conflicts counts the records that both sides had changed, however they were resolved';

CREATE TYPE jacksync.conflict_result AS
(
	type		jacksync.sync_status,
	local_changes jsonb,
	pms_changes	jsonb
);
COMMENT ON TYPE jacksync.conflict_result IS
'what detect_conflict() found: changes since the last sync as {field: {"from": ..., "to": ...}}';
