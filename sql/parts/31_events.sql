/*
 * What is known to be there and is still to be asked for: records whose
 * detail is wanted (src/detail.c), and events of queues (src/events.c).
 */
CREATE TABLE jacksync.detail
(
	stream_id	integer NOT NULL,
	external_id	text COLLATE "C" NOT NULL,
	wanted		boolean NOT NULL DEFAULT true,
	listed		jsonb,
	listed_hash	bigint,
	tick		bigint NOT NULL,
	attempts	integer NOT NULL DEFAULT 0,
	next_attempt_at timestamptz,
	PRIMARY KEY (stream_id, external_id)
);
CREATE INDEX detail_wanted ON jacksync.detail (stream_id, external_id) WHERE wanted;
COMMENT ON TABLE jacksync.detail IS
'records that a list or an event named, and whether their detail is still to be read: survives a crash';
COMMENT ON COLUMN jacksync.detail.stream_id IS 'number of the stream';
COMMENT ON COLUMN jacksync.detail.external_id IS 'id of the record at the PMS';
COMMENT ON COLUMN jacksync.detail.wanted IS 'the detail is still to be read';
COMMENT ON COLUMN jacksync.detail.listed IS 'what the list, or the event, said of it; NULL: the detail was read';
COMMENT ON COLUMN jacksync.detail.listed_hash IS 'hash of that: a record that is listed as before is not read again';
COMMENT ON COLUMN jacksync.detail.tick IS 'when the list was requested, in ticks';
COMMENT ON COLUMN jacksync.detail.attempts IS 'how often reading failed';
COMMENT ON COLUMN jacksync.detail.next_attempt_at IS 'not before';

CREATE TABLE jacksync.event
(
	server		name NOT NULL,
	queue		bigint NOT NULL,
	event_id	text COLLATE "C" NOT NULL,
	event_time	timestamptz,
	payload		jsonb NOT NULL,
	received_at	timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	pending		integer[] NOT NULL,
	PRIMARY KEY (server, queue, event_id)
);
CREATE INDEX event_pending ON jacksync.event (server, queue) WHERE pending <> '{}';
CREATE INDEX event_received ON jacksync.event (received_at);
COMMENT ON TABLE jacksync.event IS
'events that were read from queues of a PMS, stored before anything else is done with them';
COMMENT ON COLUMN jacksync.event.server IS 'the server';
COMMENT ON COLUMN jacksync.event.queue IS 'which queue of it: a hash of stream.request';
COMMENT ON COLUMN jacksync.event.event_id IS 'id of the event at the PMS, or a hash of it';
COMMENT ON COLUMN jacksync.event.event_time IS 'when it happened, by the PMS';
COMMENT ON COLUMN jacksync.event.payload IS 'the event as the PMS sent it';
COMMENT ON COLUMN jacksync.event.received_at IS 'when it was read';
COMMENT ON COLUMN jacksync.event.pending IS 'numbers of the streams that have still to take it';

SELECT pg_catalog.pg_extension_config_dump('jacksync.detail', '');
SELECT pg_catalog.pg_extension_config_dump('jacksync.event', '');
