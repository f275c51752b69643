/*
 * A hotel: two tables, bound to the sample PMS.  psql variables: pms (the
 * address of the PMS), poll (the poll interval).
 */
CREATE TABLE guests
(
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id		text UNIQUE,
	name			text NOT NULL,
	email			text,
	phone			text,
	loyalty_number	text,
	loyalty_tier	text,
	preferences		text[],
	notes			text,
	tags			text[],
	communication_channel text,
	last_interaction timestamptz
);

CREATE TABLE reservations
(
	id				bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id		text UNIQUE,
	guest_name		text NOT NULL,
	check_in_date	date NOT NULL,
	check_out_date	date NOT NULL,
	room_number		text,
	room_type		text,
	rate_code		text,
	adults			integer,
	children		integer,
	status			text NOT NULL,
	balance			numeric(10,2),
	special_requests text[],
	CHECK (check_out_date >= check_in_date)
);

-- the connection: address and credentials
CREATE SERVER sample_pms FOREIGN DATA WRAPPER jacksync
	OPTIONS (base_url :'pms', auth 'oauth2_client_credentials',
		token_url :'token_url', rate_limit '1000/1s', timeout '5s');
CREATE USER MAPPING FOR CURRENT_USER SERVER sample_pms
	OPTIONS (client_id 'jack', client_secret 'hotel-secret');

-- who wins: the standard rules of a hotel
SELECT jacksync.load_config(jacksync.hotel_config());

-- which table is what
INSERT INTO jacksync.entity (entity, local_table, urgency_column) VALUES
	('guests', 'guests', NULL),
	('reservations', 'reservations', 'check_in_date');

-- how to read and write them
INSERT INTO jacksync.stream
	(entity, server, request, record_path, deleted_path, paginator, push, poll_interval)
SELECT entity, 'sample_pms',
	jsonb_build_object('path', '/v1/' || entity,
		'query', jsonb_build_object('updatedSince', '{since}', 'page', '{page}', 'pageSize', '{limit}')),
	'$.data[*]', '$.deleted == true',
	'{"type": "page_number", "base_page": 1, "page_size": 500, "has_more_path": "$.hasMore"}',
	jsonb_build_object(
		'read', jsonb_build_object('path', '/v1/' || entity || '/{record.id}'),
		'if_match', 'etag', 'idempotency_header', 'Idempotency-Key',
		'update', jsonb_build_object('method', 'PATCH', 'path', '/v1/' || entity || '/{record.id}')),
	:'poll'
FROM jacksync.entity
WHERE entity IN ('guests', 'reservations');
