/* Three hundred servers, each with a few rooms. */
CREATE EXTENSION jacksync;
CREATE TABLE rooms (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, external_id text, hotel text, number text, status text, UNIQUE (hotel, external_id));
INSERT INTO jacksync.entity (entity, local_table, property_column) VALUES ('rooms', 'rooms', 'hotel');
SELECT format('CREATE SERVER hotel_%s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url %L, timeout ''20s'')', i, :'pms') FROM generate_series(1, 300) i \gexec
INSERT INTO jacksync.stream (entity, server, request, record_path, property_value, poll_interval)
SELECT 'rooms', 'hotel_' || i, jsonb_build_object('path', '/v1/rooms', 'query', jsonb_build_object('updatedSince', '{since}', 'hotel', i::text)),
	'$.data[*]', 'H' || i, '60 s' FROM generate_series(1, 300) i;
