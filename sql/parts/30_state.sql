/*
 * State.  jacksync.record, which people read, is a view of jacksync.link.
 */
-- What most updates change stands together, from within the snapshot to
-- row_at: only that is logged.
CREATE TABLE jacksync.link
(
	record_id		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	entity_id		integer NOT NULL,
	stream_id		integer NOT NULL,
	state			"char" NOT NULL DEFAULT 'l'
		CHECK (state IN ('l', 'n', 'd', 't', 'f')),
	dirty			boolean NOT NULL DEFAULT false,
	waiting			boolean NOT NULL DEFAULT false,
	conflict		boolean NOT NULL DEFAULT false,
	failed			boolean NOT NULL DEFAULT false,
	must_pull		boolean NOT NULL DEFAULT false,
	push_failures	integer NOT NULL DEFAULT 0,
	finalized_tick	bigint NOT NULL DEFAULT 0,
	external_id		text COLLATE "C",
	local_id		text COLLATE "C",
	snapshot		jsonb,
	pms_updated_at	timestamptz,
	last_sync_at	timestamptz,
	hash			bigint,
	row_at			tid,
	intent_id		bigint,
	next_push_at	timestamptz,
	local_updated_at timestamptz,
	local_times		jsonb,
	local_base		jsonb,
	decided			jsonb,
	version			text
) USING heap WITH (fillfactor = 80);
COMMENT ON TABLE jacksync.link IS
'which local row is which record of the PMS, and what both sides agreed on (see the view jacksync.record)';
COMMENT ON COLUMN jacksync.link.record_id IS 'number of the record';
COMMENT ON COLUMN jacksync.link.entity_id IS 'number of the entity';
COMMENT ON COLUMN jacksync.link.stream_id IS 'number of the stream; 0: records that apply() got without a server';
COMMENT ON COLUMN jacksync.link.external_id IS 'id at the PMS; NULL: not created there yet';
COMMENT ON COLUMN jacksync.link.local_id IS 'primary key of the local row as text (several columns: a JSON array)';
COMMENT ON COLUMN jacksync.link.state IS 'l linked, n new here and not yet at the PMS, d deleted here, t tombstone, f forgotten';
COMMENT ON COLUMN jacksync.link.dirty IS 'local changes may wait to be pushed or undone';
COMMENT ON COLUMN jacksync.link.waiting IS 'local changes of a pushed field wait, or changes that will be undone';
COMMENT ON COLUMN jacksync.link.conflict IS 'a conflict is held for a person';
COMMENT ON COLUMN jacksync.link.failed IS 'an error of this record is open in sync_error';
COMMENT ON COLUMN jacksync.link.must_pull IS 'the PMS has something newer: read before the next push';
COMMENT ON COLUMN jacksync.link.intent_id IS 'the open intent: a push whose outcome is not yet recorded';
COMMENT ON COLUMN jacksync.link.finalized_tick IS 'when the last push was recorded; a page requested before is stale for this record';
COMMENT ON COLUMN jacksync.link.row_at IS 'where in the local table the row was last: a hint, which need not be right';
COMMENT ON COLUMN jacksync.link.push_failures IS 'failed pushes in a row';
COMMENT ON COLUMN jacksync.link.next_push_at IS 'no push before this time';
COMMENT ON COLUMN jacksync.link.local_updated_at IS 'time of the last local change';
COMMENT ON COLUMN jacksync.link.local_times IS 'time of the local change per field, for changes that wait';
COMMENT ON COLUMN jacksync.link.local_base IS 'what the row held after the last sync, where that is not the cast of the snapshot';
COMMENT ON COLUMN jacksync.link.decided IS 'fields whose local value a person chose: it goes to the PMS whatever the rule says';
COMMENT ON COLUMN jacksync.link.version IS 'version (ETag) of the record at the PMS';
COMMENT ON COLUMN jacksync.link.snapshot IS 'what the PMS said at the last sync: the base of every three-way decision';
COMMENT ON COLUMN jacksync.link.pms_updated_at IS 'when the PMS changed the record';
COMMENT ON COLUMN jacksync.link.last_sync_at IS 'when the record was last brought in line';
COMMENT ON COLUMN jacksync.link.hash IS 'hash of the record as the PMS sent it and of the rules it was applied by; NULL: look again';

CREATE UNIQUE INDEX link_external ON jacksync.link (external_id, entity_id, stream_id);
CREATE UNIQUE INDEX link_local ON jacksync.link (entity_id, local_id);
CREATE INDEX link_dirty ON jacksync.link (entity_id, stream_id) WHERE dirty;
CREATE INDEX link_open ON jacksync.link (intent_id) WHERE intent_id IS NOT NULL;

/*
 * Append-only log of local changes, written by the row trigger in the user's
 * own transaction and consumed by presence.  No index: see doc/design.md.
 */
CREATE TABLE jacksync.change
(
	change_id	bigint NOT NULL,
	changed_at	timestamptz NOT NULL,
	entity_id	integer NOT NULL,
	op			"char" NOT NULL,
	waiting		boolean NOT NULL,
	local_id	text COLLATE "C" NOT NULL,
	old_local_id text COLLATE "C",
	columns		bytea
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE jacksync.change REPLICA IDENTITY FULL;
COMMENT ON TABLE jacksync.change IS 'captured local changes that are not yet taken up';
COMMENT ON COLUMN jacksync.change.change_id IS 'order within one row: a position in the WAL; below 0: captured by the server that a dump is from';
COMMENT ON COLUMN jacksync.change.changed_at IS 'when the change was made';
COMMENT ON COLUMN jacksync.change.entity_id IS 'number of the entity';
COMMENT ON COLUMN jacksync.change.op IS 'i insert, u update, d delete';
COMMENT ON COLUMN jacksync.change.waiting IS 'the change is to be pushed or undone';
COMMENT ON COLUMN jacksync.change.local_id IS 'primary key of the row';
COMMENT ON COLUMN jacksync.change.old_local_id IS 'its primary key before, where the change altered it';
COMMENT ON COLUMN jacksync.change.columns IS 'the changed columns: bit attnum of it is 1; NULL: any';

/*
 * The capture trigger writes without statements, and this one does not fire.
 * What a statement writes is either ours, or what pg_restore brings: its
 * numbers are of another WAL, and it is older than all that is captured here.
 */
CREATE FUNCTION jacksync.number_change() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NEW.change_id IS NULL THEN
		NEW.change_id := pg_current_wal_insert_lsn() - '0/0';
	ELSIF NEW.change_id > 0 THEN
		NEW.change_id := NEW.change_id - (1::bigint << 62);
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.number_change() IS 'orders changes that a statement writes into the log (trigger)';
CREATE TRIGGER number_change BEFORE INSERT ON jacksync.change
	FOR EACH ROW EXECUTE FUNCTION jacksync.number_change();
COMMENT ON TRIGGER number_change ON jacksync.change IS 'what a dump brings comes before what is captured here';

CREATE SEQUENCE jacksync.tick;
COMMENT ON SEQUENCE jacksync.tick IS 'orders requests and recorded pushes without a clock';

CREATE TABLE jacksync.intent
(
	intent_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	record_id	bigint NOT NULL,
	stream_id	integer NOT NULL,
	operation	text NOT NULL CHECK (operation IN ('update', 'create', 'delete')),
	place		integer NOT NULL DEFAULT 0,
	external_id	text COLLATE "C",
	state		text NOT NULL DEFAULT 'claimed'
		CHECK (state IN ('claimed', 'unknown', 'done', 'rejected', 'superseded')),
	changes		jsonb NOT NULL,
	row_values	jsonb,
	derived		jsonb,
	idempotency_key uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	if_match	text,
	attempts	integer NOT NULL DEFAULT 0,
	lookup_only	boolean NOT NULL DEFAULT false,
	claimed_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	finished_at	timestamptz,
	http_status	integer,
	error		text
);
CREATE INDEX intent_unfinished ON jacksync.intent (stream_id) WHERE state IN ('claimed', 'unknown');
CREATE INDEX intent_record ON jacksync.intent (record_id);
CREATE INDEX intent_reference ON jacksync.intent (idempotency_key) WHERE operation = 'create';
COMMENT ON TABLE jacksync.intent IS
'what we are about to tell the PMS: committed before the first byte is sent';
COMMENT ON COLUMN jacksync.intent.intent_id IS 'number of the intent';
COMMENT ON COLUMN jacksync.intent.record_id IS 'the record';
COMMENT ON COLUMN jacksync.intent.stream_id IS 'the stream it goes through';
COMMENT ON COLUMN jacksync.intent.operation IS 'update, create or delete';
COMMENT ON COLUMN jacksync.intent.place IS 'which operation of the list in push it is, from 0';
COMMENT ON COLUMN jacksync.intent.external_id IS 'id that the PMS gave the record of a create';
COMMENT ON COLUMN jacksync.intent.state IS 'claimed, unknown (sent, no answer), done, rejected or superseded';
COMMENT ON COLUMN jacksync.intent.changes IS 'the fields and values that are sent';
COMMENT ON COLUMN jacksync.intent.row_values IS 'all fields of the row when the change was claimed';
COMMENT ON COLUMN jacksync.intent.derived IS 'those of the fields that no user had edited: a trigger wrote them';
COMMENT ON COLUMN jacksync.intent.idempotency_key IS 'the same for every attempt of this intent; {record.reference} in a request';
COMMENT ON COLUMN jacksync.intent.if_match IS 'version that the PMS must still have';
COMMENT ON COLUMN jacksync.intent.attempts IS 'how often it was sent';
COMMENT ON COLUMN jacksync.intent.lookup_only IS 'claimed before a restore or a failover: never sent again without a look';
COMMENT ON COLUMN jacksync.intent.claimed_at IS 'when it was claimed';
COMMENT ON COLUMN jacksync.intent.finished_at IS 'when its outcome was recorded';
COMMENT ON COLUMN jacksync.intent.http_status IS 'status of the answer';
COMMENT ON COLUMN jacksync.intent.error IS 'what the PMS or the network said';

CREATE TABLE jacksync.push_state
(
	record_id	bigint PRIMARY KEY REFERENCES jacksync.link ON DELETE CASCADE,
	refused		jsonb NOT NULL DEFAULT '{}',
	alone		boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE jacksync.push_state IS
'values that the PMS refused: they are not sent again before they change, or requeue()';
COMMENT ON COLUMN jacksync.push_state.record_id IS 'the record';
COMMENT ON COLUMN jacksync.push_state.refused IS 'the refused values by field';
COMMENT ON COLUMN jacksync.push_state.alone IS 'the fields of the record go one by one, to find out which is refused';

CREATE TABLE jacksync.stream_state
(
	stream_id		integer PRIMARY KEY,
	paused			boolean NOT NULL DEFAULT false,
	initial_done	boolean NOT NULL DEFAULT false,
	watermark		timestamptz,
	progress		jsonb,
	last_attempt_at	timestamptz,
	last_sync_at	timestamptz,
	next_due_at		timestamptz NOT NULL DEFAULT pg_catalog.now(),
	failure_count	integer NOT NULL DEFAULT 0,
	backoff_from	integer NOT NULL DEFAULT 0,
	last_error		text,
	last_reconcile_at timestamptz,
	skew			interval,
	skew_error		interval,
	full_wanted		boolean NOT NULL DEFAULT false,
	quarantine		text
) WITH (fillfactor = 50);
COMMENT ON TABLE jacksync.stream_state IS 'how far each stream is';
COMMENT ON COLUMN jacksync.stream_state.stream_id IS 'number of the stream';
COMMENT ON COLUMN jacksync.stream_state.paused IS 'set by pause()';
COMMENT ON COLUMN jacksync.stream_state.initial_done IS 'the initial load is complete';
COMMENT ON COLUMN jacksync.stream_state.watermark IS
'all changes of the PMS up to this time (its clock) were seen; polls that find nothing move it in shared memory only';
COMMENT ON COLUMN jacksync.stream_state.progress IS 'where the present walk is: survives a crash';
COMMENT ON COLUMN jacksync.stream_state.last_attempt_at IS 'when the last run started that has a row in sync_run';
COMMENT ON COLUMN jacksync.stream_state.last_sync_at IS
'when the last complete run started: the age of the data counts from here; jacksync.status and check_freshness() know of later polls that found nothing';
COMMENT ON COLUMN jacksync.stream_state.next_due_at IS 'when the next run is due, by the last one that has a row in sync_run';
COMMENT ON COLUMN jacksync.stream_state.failure_count IS 'failed runs in a row';
COMMENT ON COLUMN jacksync.stream_state.backoff_from IS 'failures in a row that do not count for the back-off, because sync_now() was called after them';
COMMENT ON COLUMN jacksync.stream_state.last_error IS 'what the last failed run said';
COMMENT ON COLUMN jacksync.stream_state.last_reconcile_at IS 'when everything was last compared';
COMMENT ON COLUMN jacksync.stream_state.skew IS 'clock of the PMS minus ours, from its Date header';
COMMENT ON COLUMN jacksync.stream_state.skew_error IS 'how far off the measured skew may be: times closer than this are a tie';
COMMENT ON COLUMN jacksync.stream_state.full_wanted IS 'the next run reads everything';
COMMENT ON COLUMN jacksync.stream_state.quarantine IS 'why the stream was paused by jacksync itself, until resume() or resync()';

CREATE TABLE jacksync.sync_run
(
	run_id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	entity			text COLLATE "C",
	server			name,
	kind			text NOT NULL DEFAULT 'sync' CHECK (kind IN ('sync', 'push', 'apply', 'reconcile')),
	started			timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	completed		timestamptz,
	success			boolean,
	records_processed bigint NOT NULL DEFAULT 0,
	created			bigint NOT NULL DEFAULT 0,
	updated			bigint NOT NULL DEFAULT 0,
	unchanged		bigint NOT NULL DEFAULT 0,
	pushed			bigint NOT NULL DEFAULT 0,
	conflicts		bigint NOT NULL DEFAULT 0,
	errors			bigint NOT NULL DEFAULT 0,
	error			text,
	idle			bigint NOT NULL DEFAULT 0
);
CREATE INDEX sync_run_started ON jacksync.sync_run (started);
COMMENT ON TABLE jacksync.sync_run IS
'every run; polls of the worker that found nothing have no row, but are counted in the next one';
COMMENT ON COLUMN jacksync.sync_run.run_id IS 'number of the run';
COMMENT ON COLUMN jacksync.sync_run.entity IS 'entity that was synchronised';
COMMENT ON COLUMN jacksync.sync_run.server IS 'server it was synchronised with; NULL: apply() without a server';
COMMENT ON COLUMN jacksync.sync_run.kind IS 'sync, push, apply or reconcile';
COMMENT ON COLUMN jacksync.sync_run.started IS 'start';
COMMENT ON COLUMN jacksync.sync_run.completed IS 'end; NULL: running, or cut off by a crash';
COMMENT ON COLUMN jacksync.sync_run.success IS 'whether the run was complete; NULL while it runs';
COMMENT ON COLUMN jacksync.sync_run.records_processed IS 'records that the PMS sent';
COMMENT ON COLUMN jacksync.sync_run.created IS 'rows that were inserted here';
COMMENT ON COLUMN jacksync.sync_run.updated IS 'rows that were changed here';
COMMENT ON COLUMN jacksync.sync_run.unchanged IS 'records that were already in line';
COMMENT ON COLUMN jacksync.sync_run.pushed IS 'changes that the PMS accepted';
COMMENT ON COLUMN jacksync.sync_run.conflicts IS 'records that both sides had changed';
COMMENT ON COLUMN jacksync.sync_run.errors IS 'records that failed';
COMMENT ON COLUMN jacksync.sync_run.error IS 'why the run failed';
COMMENT ON COLUMN jacksync.sync_run.idle IS
'polls of the stream since its last row that found nothing to do, and so wrote nothing';

CREATE TABLE jacksync.sync_error
(
	error_id		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	run_id			bigint,
	entity			text COLLATE "C" NOT NULL,
	server			name,
	external_id		text COLLATE "C",
	local_id		text COLLATE "C",
	direction		text NOT NULL DEFAULT 'pull' CHECK (direction IN ('pull', 'push')),
	sqlstate		text NOT NULL,
	error			text NOT NULL,
	payload			jsonb,
	attempts		integer NOT NULL DEFAULT 1,
	first_seen_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	next_attempt_at	timestamptz,
	state			text NOT NULL DEFAULT 'retry'
		CHECK (state IN ('waiting', 'retry', 'dead', 'resolved', 'discarded')),
	reason			text,
	tick			bigint NOT NULL DEFAULT 0,
	pms_updated_at	timestamptz
);
CREATE UNIQUE INDEX sync_error_open ON jacksync.sync_error
	(entity, server, external_id, local_id, direction) NULLS NOT DISTINCT
	WHERE state IN ('waiting', 'retry', 'dead')
		AND (external_id IS NOT NULL OR local_id IS NOT NULL);
COMMENT ON TABLE jacksync.sync_error IS
'records that could not be applied or pushed, with what the PMS sent; retried, then dead';
COMMENT ON COLUMN jacksync.sync_error.error_id IS 'number of the error, for requeue() and discard()';
COMMENT ON COLUMN jacksync.sync_error.run_id IS 'run in which it was last seen';
COMMENT ON COLUMN jacksync.sync_error.entity IS 'entity';
COMMENT ON COLUMN jacksync.sync_error.server IS 'server';
COMMENT ON COLUMN jacksync.sync_error.external_id IS 'id of the record at the PMS';
COMMENT ON COLUMN jacksync.sync_error.local_id IS 'primary key of the local row';
COMMENT ON COLUMN jacksync.sync_error.direction IS 'pull or push';
COMMENT ON COLUMN jacksync.sync_error.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN jacksync.sync_error.error IS 'what went wrong';
COMMENT ON COLUMN jacksync.sync_error.payload IS 'the record as the PMS sent it, or the values that were sent';
COMMENT ON COLUMN jacksync.sync_error.attempts IS 'how often it was tried';
COMMENT ON COLUMN jacksync.sync_error.first_seen_at IS 'when it first failed';
COMMENT ON COLUMN jacksync.sync_error.next_attempt_at IS 'when it is tried again';
COMMENT ON COLUMN jacksync.sync_error.state IS 'waiting (a locked row or an open push), retry, dead, resolved or discarded';
COMMENT ON COLUMN jacksync.sync_error.reason IS 'why it was discarded';
COMMENT ON COLUMN jacksync.sync_error.tick IS 'when the payload was requested, in ticks';
COMMENT ON COLUMN jacksync.sync_error.pms_updated_at IS 'when the PMS changed the record of the payload';

CREATE TABLE jacksync.manual_conflict
(
	conflict_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	record_id	bigint NOT NULL,
	entity		text COLLATE "C" NOT NULL,
	server		name,
	local_id	text COLLATE "C",
	external_id	text COLLATE "C",
	field		text COLLATE "C" NOT NULL,
	field_group	text,
	base_value	jsonb,
	local_value	jsonb,
	pms_value	jsonb,
	detected_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	updated_at	timestamptz,
	status		text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'resolved')),
	reason		text,
	urgency		jsonb,
	resolved_by	text,
	resolved_at	timestamptz,
	resolution	text CHECK (resolution IN ('local', 'pms', 'custom')),
	custom_value jsonb
);
CREATE UNIQUE INDEX manual_conflict_pending ON jacksync.manual_conflict (record_id, field)
	WHERE status = 'pending';
COMMENT ON TABLE jacksync.manual_conflict IS 'differences that are held for a person';
COMMENT ON COLUMN jacksync.manual_conflict.conflict_id IS 'number of the conflict, for resolve_conflict()';
COMMENT ON COLUMN jacksync.manual_conflict.record_id IS 'the record';
COMMENT ON COLUMN jacksync.manual_conflict.entity IS 'entity';
COMMENT ON COLUMN jacksync.manual_conflict.server IS 'server';
COMMENT ON COLUMN jacksync.manual_conflict.local_id IS 'primary key of the local row';
COMMENT ON COLUMN jacksync.manual_conflict.external_id IS 'id at the PMS';
COMMENT ON COLUMN jacksync.manual_conflict.field IS 'the field that differs';
COMMENT ON COLUMN jacksync.manual_conflict.field_group IS 'the group that is resolved with it';
COMMENT ON COLUMN jacksync.manual_conflict.base_value IS 'what both sides had at the last sync';
COMMENT ON COLUMN jacksync.manual_conflict.local_value IS 'what the table has';
COMMENT ON COLUMN jacksync.manual_conflict.pms_value IS 'what the PMS has';
COMMENT ON COLUMN jacksync.manual_conflict.detected_at IS 'when it was found';
COMMENT ON COLUMN jacksync.manual_conflict.updated_at IS 'when a side last changed it again';
COMMENT ON COLUMN jacksync.manual_conflict.status IS 'pending or resolved';
COMMENT ON COLUMN jacksync.manual_conflict.reason IS 'why it is held: the rule, or the constraint that a merge would break';
COMMENT ON COLUMN jacksync.manual_conflict.urgency IS 'value of the urgency_column of the entity in that row';
COMMENT ON COLUMN jacksync.manual_conflict.resolved_by IS 'role that decided, or system';
COMMENT ON COLUMN jacksync.manual_conflict.resolved_at IS 'when it was decided';
COMMENT ON COLUMN jacksync.manual_conflict.resolution IS 'local, pms or custom';
COMMENT ON COLUMN jacksync.manual_conflict.custom_value IS 'the value of a custom decision';

CREATE TABLE jacksync.audit_log
(
	audit_id		bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	logged_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	operation		text NOT NULL CHECK (operation IN ('sync', 'conflict_resolution', 'manual_override')),
	entity			text COLLATE "C",
	server			name,
	local_id		text COLLATE "C",
	external_id		text COLLATE "C",
	field			text COLLATE "C",
	before_state	jsonb,
	after_state		jsonb,
	conflict_details jsonb,
	resolved_by		text NOT NULL DEFAULT 'system',
	run_id			bigint
);
CREATE INDEX audit_log_record ON jacksync.audit_log (external_id, entity);
COMMENT ON TABLE jacksync.audit_log IS 'every decision, with the value that lost; append-only';
COMMENT ON COLUMN jacksync.audit_log.audit_id IS 'number of the entry, for undo()';
COMMENT ON COLUMN jacksync.audit_log.logged_at IS 'when it was decided';
COMMENT ON COLUMN jacksync.audit_log.operation IS 'sync, conflict_resolution or manual_override';
COMMENT ON COLUMN jacksync.audit_log.entity IS 'entity';
COMMENT ON COLUMN jacksync.audit_log.server IS 'server';
COMMENT ON COLUMN jacksync.audit_log.local_id IS 'primary key of the local row';
COMMENT ON COLUMN jacksync.audit_log.external_id IS 'id at the PMS';
COMMENT ON COLUMN jacksync.audit_log.field IS 'the field; NULL: the record as a whole';
COMMENT ON COLUMN jacksync.audit_log.before_state IS 'what the table had, {field: value}';
COMMENT ON COLUMN jacksync.audit_log.after_state IS 'what it has now, {field: value}';
COMMENT ON COLUMN jacksync.audit_log.conflict_details IS 'baseValue, localValue, pmsValue, resolution, strategy';
COMMENT ON COLUMN jacksync.audit_log.resolved_by IS 'system, or the role that decided';
COMMENT ON COLUMN jacksync.audit_log.run_id IS 'run in which it was decided';

CREATE TABLE jacksync.alert
(
	alert_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	raised_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	level		text NOT NULL CHECK (level IN ('info', 'warning', 'critical')),
	title		text NOT NULL,
	message		text NOT NULL,
	entity		text COLLATE "C",
	server		name,
	context		jsonb NOT NULL DEFAULT '{}',
	resolved_at	timestamptz,
	kind		text NOT NULL DEFAULT 'event',
	count		integer NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX alert_open ON jacksync.alert (kind, entity, server) NULLS NOT DISTINCT
	WHERE resolved_at IS NULL AND kind <> 'event';
COMMENT ON TABLE jacksync.alert IS 'what people were, or are to be, told';
COMMENT ON COLUMN jacksync.alert.alert_id IS 'number of the alert';
COMMENT ON COLUMN jacksync.alert.raised_at IS 'when it was raised, or its level last rose';
COMMENT ON COLUMN jacksync.alert.level IS 'info, warning or critical';
COMMENT ON COLUMN jacksync.alert.title IS 'one line';
COMMENT ON COLUMN jacksync.alert.message IS 'the text';
COMMENT ON COLUMN jacksync.alert.entity IS 'entity';
COMMENT ON COLUMN jacksync.alert.server IS 'server';
COMMENT ON COLUMN jacksync.alert.context IS 'details';
COMMENT ON COLUMN jacksync.alert.resolved_at IS 'when it was over; NULL: it lasts';
COMMENT ON COLUMN jacksync.alert.kind IS 'what it is about: one lasting alert per kind, entity and server';
COMMENT ON COLUMN jacksync.alert.count IS 'how often its cause was seen';

CREATE TABLE jacksync.worker
(
	pid			integer PRIMARY KEY,
	started_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	heartbeat	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	library_version text NOT NULL
);
COMMENT ON TABLE jacksync.worker IS 'the background worker of this database';
COMMENT ON COLUMN jacksync.worker.pid IS 'its process id';
COMMENT ON COLUMN jacksync.worker.started_at IS 'when it started';
COMMENT ON COLUMN jacksync.worker.heartbeat IS 'when it last wrote that it lives (worker_status has the live one)';
COMMENT ON COLUMN jacksync.worker.library_version IS 'version of the library that it runs';

/* not dumped: it means something in the running server only */
CREATE TABLE jacksync.shared_state
(
	singleton		boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	handle			bigint NOT NULL,
	server_start	timestamptz NOT NULL
);
COMMENT ON TABLE jacksync.shared_state IS 'where the live progress is in shared memory';
COMMENT ON COLUMN jacksync.shared_state.singleton IS 'always true';
COMMENT ON COLUMN jacksync.shared_state.handle IS 'handle of the dynamic segment';
COMMENT ON COLUMN jacksync.shared_state.server_start IS 'start of the server in which the handle is good';

CREATE TABLE jacksync.installation
(
	singleton			boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	system_identifier	bigint NOT NULL,
	database_oid		oid NOT NULL,
	timeline			bigint
);
COMMENT ON TABLE jacksync.installation IS
'the cluster and database that may talk to the PMS; a restored copy must be adopted first';
COMMENT ON COLUMN jacksync.installation.singleton IS 'always true';
COMMENT ON COLUMN jacksync.installation.system_identifier IS 'system identifier of the cluster';
COMMENT ON COLUMN jacksync.installation.database_oid IS 'OID of the database';
COMMENT ON COLUMN jacksync.installation.timeline IS 'timeline of the cluster: another one tells of a failover or a restore';

CREATE TABLE jacksync.token
(
	server_oid		oid NOT NULL,
	mapping_user	oid NOT NULL,
	fingerprint		bigint NOT NULL,
	access_token	text,
	obtained_at		timestamptz,
	expires_at		timestamptz,
	refresh_at		timestamptz,
	refresh_token	text,
	previous_refresh_token text,
	refreshing_until timestamptz,
	refreshing_pid	integer,
	failures		integer NOT NULL DEFAULT 0,
	next_attempt_at	timestamptz,
	last_error		text,
	refusals		integer NOT NULL DEFAULT 0,
	PRIMARY KEY (server_oid, mapping_user)
);
COMMENT ON TABLE jacksync.token IS 'access tokens in use; never dumped, readable by superusers only';
COMMENT ON COLUMN jacksync.token.server_oid IS 'the foreign server';
COMMENT ON COLUMN jacksync.token.mapping_user IS 'the role whose user mapping it was got with; 0: that of PUBLIC';
COMMENT ON COLUMN jacksync.token.fingerprint IS 'changes with the credentials that it was got with';
COMMENT ON COLUMN jacksync.token.access_token IS 'the token';
COMMENT ON COLUMN jacksync.token.obtained_at IS 'when it came';
COMMENT ON COLUMN jacksync.token.expires_at IS 'when it ends';
COMMENT ON COLUMN jacksync.token.refresh_at IS 'when a new one is asked for';
COMMENT ON COLUMN jacksync.token.refresh_token IS 'refresh token, where the PMS rotates it';
COMMENT ON COLUMN jacksync.token.previous_refresh_token IS 'the one before it';
COMMENT ON COLUMN jacksync.token.refreshing_until IS 'until then one process is getting a new token; the others wait';
COMMENT ON COLUMN jacksync.token.refreshing_pid IS 'which process that is';
COMMENT ON COLUMN jacksync.token.failures IS 'failures in a row to get one';
COMMENT ON COLUMN jacksync.token.next_attempt_at IS 'when that is tried again';
COMMENT ON COLUMN jacksync.token.last_error IS 'why it failed';
COMMENT ON COLUMN jacksync.token.refusals IS 'tokens in a row that the PMS did not accept though it gave them out';

SELECT pg_catalog.pg_extension_config_dump('jacksync.link', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.change', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.intent', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.push_state', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.stream_state', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.sync_run', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.sync_error', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.manual_conflict', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.audit_log', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.alert', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.installation', '');
