/*
 * The table of the soak, with a field for every rule, and the trail of what
 * happened to its rows.  psql variables: pms, push, page_size.
 */
CREATE TABLE bookings
(
	id			bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	external_id	text UNIQUE,
	owned		text,
	ours		text,
	latest		text,
	held		text,
	marks		text[],
	notes		text,
	price		numeric(10,2),
	rate		numeric(10,2),
	nick		text
);

-- what a table makes of a value is nobody's change
CREATE FUNCTION write_capitals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.nick := upper(NEW.nick);
	RETURN NEW;
END
$$;
CREATE TRIGGER write_capitals BEFORE INSERT OR UPDATE ON bookings
	FOR EACH ROW EXECUTE FUNCTION write_capitals();

CREATE TABLE trail
(
	n			bigint GENERATED ALWAYS AS IDENTITY,
	at			timestamptz DEFAULT clock_timestamp(),
	who			text,
	op			text,
	id			bigint,
	before		jsonb,
	after		jsonb
);
CREATE FUNCTION leave_trail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.trail (who, op, id, before, after) VALUES
		(current_setting('application_name'), TG_OP, coalesce(NEW.id, OLD.id), to_jsonb(OLD), to_jsonb(NEW));
	RETURN NULL;
END
$$;
CREATE TRIGGER leave_trail AFTER INSERT OR UPDATE OR DELETE ON bookings
	FOR EACH ROW EXECUTE FUNCTION leave_trail();

CREATE SERVER soak_pms FOREIGN DATA WRAPPER jacksync
	OPTIONS (base_url :'pms', auth 'oauth2_client_credentials', token_url :'token_url',
		rate_limit '1000/1s', timeout '2s', connect_timeout '1s');
CREATE USER MAPPING FOR CURRENT_USER SERVER soak_pms
	OPTIONS (client_id 'jack', client_secret 'hotel-secret');

INSERT INTO jacksync.entity (entity, local_table, on_pms_delete, delete_guard) VALUES
	('bookings', 'bookings', 'delete', '{"count": 1000, "percent": 100}');
INSERT INTO jacksync.authority (entity, field, strategy, push) VALUES
	('bookings', 'owned', 'pms_wins', NULL), ('bookings', 'ours', 'local_wins', true),
	('bookings', 'latest', 'latest_wins', NULL), ('bookings', 'held', 'manual', NULL),
	('bookings', 'marks', 'merge', NULL), ('bookings', 'notes', 'merge', NULL),
	('bookings', 'price', 'pms_wins', NULL),
	('bookings', 'rate', 'manual', NULL), ('bookings', 'nick', 'latest_wins', NULL);
INSERT INTO jacksync.stream (entity, server, request, record_path, deleted_path, paginator, push, poll_interval, lookback_window)
VALUES ('bookings', 'soak_pms',
	'{"path": "/v1/bookings", "query": {"updatedSince": "{since}", "page": "{page}", "pageSize": "{limit}"}}',
	'$.data[*]', '$.deleted == true',
	jsonb_build_object('type', 'page_number', 'base_page', 1, 'page_size', (:'page_size')::integer, 'has_more_path', '$.hasMore'),
	:'push', '200 ms', :'lookback');
