/*
 * Configuration.  Every table here is checked when it is written (triggers in
 * 25_config_checks.sql), and a change is seen by every session and worker at
 * its commit: the statement triggers invalidate their caches.
 */
CREATE TABLE jacksync.entity
(
	entity				text COLLATE "C" PRIMARY KEY
		CHECK (entity <> '' AND pg_catalog.length(entity) <= 63),
	entity_id			integer GENERATED ALWAYS AS IDENTITY UNIQUE,
	local_table			regclass NOT NULL UNIQUE,
	external_id_column	name NOT NULL DEFAULT 'external_id',
	property_column		name,
	urgency_column		name,
	deleted_column		name,
	enabled				boolean NOT NULL DEFAULT true,
	on_local_edit		text NOT NULL DEFAULT 'revert'
		CHECK (on_local_edit IN ('revert', 'keep', 'warn', 'reject')),
	on_pms_delete		text NOT NULL DEFAULT 'keep'
		CHECK (on_pms_delete IN ('keep', 'delete', 'mark')),
	on_local_delete		text NOT NULL DEFAULT 'restore'
		CHECK (on_local_delete IN ('restore', 'push', 'ignore')),
	delete_guard		jsonb NOT NULL DEFAULT '{"count": 20, "percent": 2}'
);
COMMENT ON TABLE jacksync.entity IS
'a kind of record (reservations, guests, ...) bound to one local table';
COMMENT ON COLUMN jacksync.entity.entity IS 'name of the kind of record';
COMMENT ON COLUMN jacksync.entity.entity_id IS 'internal number of the entity';
COMMENT ON COLUMN jacksync.entity.local_table IS 'the table; it must have a primary key';
COMMENT ON COLUMN jacksync.entity.external_id_column IS 'column that holds the id of the record at the PMS; NULL there: the PMS does not know the row yet';
COMMENT ON COLUMN jacksync.entity.property_column IS 'column that tells the servers apart where several serve one entity';
COMMENT ON COLUMN jacksync.entity.urgency_column IS 'column by which open conflicts are ordered, such as the arrival date';
COMMENT ON COLUMN jacksync.entity.deleted_column IS 'boolean or time column that on_pms_delete = ''mark'' sets: the PMS has deleted the record';
COMMENT ON COLUMN jacksync.entity.enabled IS 'false: no synchronisation, local changes are still captured';
COMMENT ON COLUMN jacksync.entity.on_local_edit IS 'what becomes of a local edit of a field that the PMS owns: revert, keep, warn or reject';
COMMENT ON COLUMN jacksync.entity.on_pms_delete IS 'what a delete at the PMS does here: keep, delete or mark';
COMMENT ON COLUMN jacksync.entity.on_local_delete IS 'what a local delete does: restore, push or ignore';
COMMENT ON COLUMN jacksync.entity.delete_guard IS 'a pull that would delete more than both count and percent is held for a person';

CREATE TABLE jacksync.authority
(
	entity			text COLLATE "C" NOT NULL,
	field			text COLLATE "C" NOT NULL CHECK (field <> ''),
	strategy		jacksync.strategy NOT NULL,
	column_name		name,
	push			boolean,
	unless_blank	boolean NOT NULL DEFAULT false,
	field_group		text,
	rationale		text,
	PRIMARY KEY (entity, field)
);
COMMENT ON TABLE jacksync.authority IS
'who wins, per field; a field without a rule is won by the PMS';
COMMENT ON COLUMN jacksync.authority.entity IS 'name of the entity; rules may be written before it is bound';
COMMENT ON COLUMN jacksync.authority.field IS 'name of the field, or * for all fields without a rule of their own';
COMMENT ON COLUMN jacksync.authority.strategy IS 'pms_wins, local_wins, merge, latest_wins or manual';
COMMENT ON COLUMN jacksync.authority.column_name IS 'column of the local table; by default the field in snake_case';
COMMENT ON COLUMN jacksync.authority.push IS 'whether local values go to the PMS; by default true for merge, latest_wins and manual';
COMMENT ON COLUMN jacksync.authority.unless_blank IS 'the winning side loses where its value is blank and the other is not';
COMMENT ON COLUMN jacksync.authority.field_group IS 'fields of one group are resolved as one';
COMMENT ON COLUMN jacksync.authority.rationale IS 'why, for the next DBA';

CREATE TABLE jacksync.stream
(
	entity			text COLLATE "C" NOT NULL REFERENCES jacksync.entity ON DELETE CASCADE ON UPDATE CASCADE,
	server			name NOT NULL,
	stream_id		integer GENERATED ALWAYS AS IDENTITY UNIQUE,
	enabled			boolean NOT NULL DEFAULT true,
	sync_mode		text NOT NULL DEFAULT 'incremental'
		CHECK (sync_mode IN ('incremental', 'full_refresh', 'event_queue')),
	request			jsonb NOT NULL,
	full_request	jsonb,
	initial_value	timestamptz,
	record_path		jsonpath NOT NULL DEFAULT '$[*]',
	parent_path		jsonpath,
	success_path	jsonpath,
	primary_key		jsonpath NOT NULL DEFAULT '$.id',
	key_template	text,
	cursor_path		jsonpath DEFAULT '$.updatedAt',
	row_order		text CHECK (row_order IN ('asc', 'desc')),
	deleted_path	jsonpath,
	fields			jsonb NOT NULL DEFAULT '{}',
	paginator		jsonb NOT NULL DEFAULT '{"type": "single_page"}',
	datetime_format	text NOT NULL DEFAULT 'iso_z_seconds',
	datetime_zone	text,
	granularity		interval NOT NULL DEFAULT '1 second',
	lookback_window	interval NOT NULL DEFAULT '5 min',
	step			interval,
	detail			jsonb,
	push			jsonb,
	response_rules	jsonb NOT NULL DEFAULT '[]',
	property_value	text,
	poll_interval	interval NOT NULL DEFAULT '60 s',
	reconcile_interval interval NOT NULL DEFAULT '1 day',
	PRIMARY KEY (entity, server)
);
COMMENT ON TABLE jacksync.stream IS
'how one entity is read from, and written to, one server';
COMMENT ON COLUMN jacksync.stream.entity IS 'name of the entity';
COMMENT ON COLUMN jacksync.stream.server IS 'name of the foreign server (CREATE SERVER ... FOREIGN DATA WRAPPER jacksync)';
COMMENT ON COLUMN jacksync.stream.stream_id IS 'internal number of the stream';
COMMENT ON COLUMN jacksync.stream.enabled IS 'false: neither polled nor pushed';
COMMENT ON COLUMN jacksync.stream.sync_mode IS 'incremental, full_refresh or event_queue';
COMMENT ON COLUMN jacksync.stream.request IS 'the request that lists changed records: method, path, query, headers, body with placeholders';
COMMENT ON COLUMN jacksync.stream.full_request IS 'the request of an initial load or reconcile where it differs';
COMMENT ON COLUMN jacksync.stream.initial_value IS '{since} of the very first run';
COMMENT ON COLUMN jacksync.stream.record_path IS 'jsonpath of the records in the answer';
COMMENT ON COLUMN jacksync.stream.parent_path IS
'jsonpath of the parents of the records: record_path is then looked up in every parent, whose other members each record gets as _parent';
COMMENT ON COLUMN jacksync.stream.success_path IS 'jsonpath predicate that a 2xx body must satisfy';
COMMENT ON COLUMN jacksync.stream.primary_key IS 'jsonpath of the external id within a record';
COMMENT ON COLUMN jacksync.stream.key_template IS
'external id made of several values, such as {parent.id}:primary or {record.hotel}/{record.number}; NULL: the value at primary_key';
COMMENT ON COLUMN jacksync.stream.cursor_path IS 'jsonpath of the time when the PMS changed a record; NULL: the start of the request counts';
COMMENT ON COLUMN jacksync.stream.row_order IS 'desc: newest first without a filter, the walk stops at the first page older than the watermark';
COMMENT ON COLUMN jacksync.stream.deleted_path IS 'jsonpath predicate: the record is a tombstone';
COMMENT ON COLUMN jacksync.stream.fields IS 'field to jsonpath, or to an object with path, map, default, blank_is_null, zone';
COMMENT ON COLUMN jacksync.stream.paginator IS 'type (single_page, page_number, offset, cursor, next_url, header_link) and its options';
COMMENT ON COLUMN jacksync.stream.datetime_format IS 'how {since} is written: iso_z_seconds, iso_z, iso_offset, epoch, epoch_ms or a to_char pattern';
COMMENT ON COLUMN jacksync.stream.datetime_zone IS 'time zone of naive times';
COMMENT ON COLUMN jacksync.stream.granularity IS 'what {since} is floored to';
COMMENT ON COLUMN jacksync.stream.lookback_window IS 'how far every poll looks back behind the watermark';
COMMENT ON COLUMN jacksync.stream.step IS 'longest window that the PMS allows';
COMMENT ON COLUMN jacksync.stream.detail IS 'a second request per id, or per batch of ids';
COMMENT ON COLUMN jacksync.stream.push IS 'how records are written; NULL: the PMS is read only';
COMMENT ON COLUMN jacksync.stream.response_rules IS 'what unusual answers mean';
COMMENT ON COLUMN jacksync.stream.property_value IS 'goes into the property column of the entity';
COMMENT ON COLUMN jacksync.stream.poll_interval IS 'time between polls';
COMMENT ON COLUMN jacksync.stream.reconcile_interval IS 'time between full comparisons';

CREATE TABLE jacksync.stale_policy
(
	entity				text COLLATE "C" PRIMARY KEY,
	max_stale_age		interval NOT NULL CHECK (max_stale_age > '0'),
	critical_stale_age	interval NOT NULL,
	affected_operations	text[] NOT NULL DEFAULT '{}',
	CHECK (critical_stale_age >= max_stale_age)
);
COMMENT ON TABLE jacksync.stale_policy IS
'how old the data of an entity may be, and which operations critically stale data forbids';
COMMENT ON COLUMN jacksync.stale_policy.entity IS 'name of the entity';
COMMENT ON COLUMN jacksync.stale_policy.max_stale_age IS 'older than this is stale';
COMMENT ON COLUMN jacksync.stale_policy.critical_stale_age IS 'older than this is critical';
COMMENT ON COLUMN jacksync.stale_policy.affected_operations IS 'operations refused while the data is critical';

CREATE TABLE jacksync.alert_threshold
(
	metric		text PRIMARY KEY CHECK (metric IN ('consecutive_failures', 'stale_data')),
	warning		numeric NOT NULL CHECK (warning > 0),
	critical	numeric NOT NULL,
	CHECK (critical >= warning)
);
COMMENT ON TABLE jacksync.alert_threshold IS
'from which number of failures in a row, or seconds of age, an alert is raised';
COMMENT ON COLUMN jacksync.alert_threshold.metric IS 'consecutive_failures or stale_data';
COMMENT ON COLUMN jacksync.alert_threshold.warning IS 'failures or seconds from which the level is warning';
COMMENT ON COLUMN jacksync.alert_threshold.critical IS 'failures or seconds from which the level is critical';
INSERT INTO jacksync.alert_threshold VALUES
	('consecutive_failures', 3, 5),
	('stale_data', 300, 3600);

CREATE TABLE jacksync.alert_channel
(
	channel			text PRIMARY KEY CHECK (channel <> ''),
	type			text NOT NULL CHECK (type IN ('email', 'slack', 'webhook', 'dashboard')),
	server			name,
	sender			text,
	recipients		text[] NOT NULL DEFAULT '{}',
	min_level		text NOT NULL DEFAULT 'warning' CHECK (min_level IN ('info', 'warning', 'critical')),
	repeat_interval	interval NOT NULL DEFAULT '4 hours',
	enabled			boolean NOT NULL DEFAULT true,
	webhook_secret	text
);
COMMENT ON TABLE jacksync.alert_channel IS 'where alerts go';
COMMENT ON COLUMN jacksync.alert_channel.channel IS 'name of the channel';
COMMENT ON COLUMN jacksync.alert_channel.type IS 'email, slack, webhook or dashboard';
COMMENT ON COLUMN jacksync.alert_channel.server IS 'foreign server of the mail relay or webhook';
COMMENT ON COLUMN jacksync.alert_channel.sender IS 'address that mails come from';
COMMENT ON COLUMN jacksync.alert_channel.recipients IS 'addresses that mails go to';
COMMENT ON COLUMN jacksync.alert_channel.min_level IS 'lowest level that is sent';
COMMENT ON COLUMN jacksync.alert_channel.repeat_interval IS 'time after which a lasting alert is sent again';
COMMENT ON COLUMN jacksync.alert_channel.enabled IS 'false: nothing is sent';
COMMENT ON COLUMN jacksync.alert_channel.webhook_secret IS
'name of the secret (secret_<name> in the user mapping of the server) that holds the address of the webhook';

/*
 * Which fields an entity has.  A row appears when a rule or a stream names
 * the field, or when a record first brings it and a column of that name is
 * there; the capture trigger looks at the columns of these fields only.
 */
CREATE TABLE jacksync.field
(
	entity_id	integer NOT NULL,
	field		text COLLATE "C" NOT NULL,
	PRIMARY KEY (entity_id, field)
);
COMMENT ON TABLE jacksync.field IS 'fields that are known to be synchronised (kept by jacksync)';
COMMENT ON COLUMN jacksync.field.entity_id IS 'number of the entity';
COMMENT ON COLUMN jacksync.field.field IS 'name of the field';

SELECT pg_catalog.pg_extension_config_dump('jacksync.entity', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.authority', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.stream', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.stale_policy', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.alert_channel', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.field', '');
