/*
 * Checks of jacksync.stream.  What this version cannot do is refused here,
 * and not found out at night.
 */
CREATE FUNCTION jacksync.check_request(col text, request jsonb, more text[], detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM jacksync.check_members('stream', col, col, request,
		'{method,path,query,headers,body}'::text[] || more, detail);
	IF NOT request ? 'path' THEN
		PERFORM jacksync.config_error('stream', col, 'member "path" is missing', detail,
			'Write the path behind the base_url of the server, such as "/v1/reservations".');
	END IF;
	PERFORM jacksync.check_type('stream', col, '"path"', request -> 'path', '{string}', detail);
	IF request ->> 'path' !~ '^/' THEN
		PERFORM jacksync.config_error('stream', col,
			format('path "%s" does not begin with /', left(request ->> 'path', 100)), detail,
			'Write the path behind the base_url of the server, such as "/v1/reservations".');
	END IF;
	PERFORM jacksync.check_type('stream', col, '"query"', request -> 'query', '{object}', detail);
	PERFORM jacksync.check_type('stream', col, '"headers"', request -> 'headers', '{object}', detail);
	IF request ? 'method' THEN
		PERFORM jacksync.check_one_of('stream', col, request ->> 'method',
			'{GET,POST,PUT,PATCH,DELETE}', detail);
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.check_request(text, jsonb, text[], text) IS
'checks the template of a request (internal)';

CREATE FUNCTION jacksync.check_fields(fields jsonb, detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	item	record;
	path	jsonb;
BEGIN
	PERFORM jacksync.check_type('stream', 'fields', 'the value', fields, '{object}', detail);
	FOR item IN SELECT key, value FROM jsonb_each(fields) LOOP
		IF jsonb_typeof(item.value) = 'string' THEN
			PERFORM jacksync.check_jsonpath('stream', 'fields', format('"%s"', item.key), item.value, detail);
			CONTINUE;
		END IF;
		PERFORM jacksync.check_members('stream', 'fields', format('"%s"', item.key), item.value,
			'{path,paths,separator,map,map_default,default,blank_is_null}', detail);
		PERFORM jacksync.check_jsonpath('stream', 'fields', format('"%s".path', item.key),
			item.value -> 'path', detail);
		PERFORM jacksync.check_type('stream', 'fields', format('"%s".map', item.key),
			item.value -> 'map', '{object}', detail);
		PERFORM jacksync.check_type('stream', 'fields', format('"%s".blank_is_null', item.key),
			item.value -> 'blank_is_null', '{boolean}', detail);
		PERFORM jacksync.check_type('stream', 'fields', format('"%s".paths', item.key),
			item.value -> 'paths', '{array}', detail);
		FOR path IN SELECT * FROM jsonb_array_elements(coalesce(item.value -> 'paths', '[]')) LOOP
			PERFORM jacksync.check_jsonpath('stream', 'fields', format('"%s".paths', item.key), path, detail);
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.check_fields(jsonb, text) IS
'checks where the fields of a record are (internal)';

CREATE FUNCTION jacksync.check_paginator(paginator jsonb, detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	option	text;
BEGIN
	PERFORM jacksync.check_members('stream', 'paginator', 'the value', paginator,
		'{type,page_size,base_page,cursor_path,next_url_path,has_more_path,total_path,max_pages}', detail);
	PERFORM jacksync.check_one_of('stream', 'paginator', coalesce(paginator ->> 'type', '(none)'),
		'{single_page,page_number,offset,cursor,next_url,header_link}', detail);
	FOREACH option IN ARRAY '{page_size,base_page,max_pages}'::text[] LOOP
		PERFORM jacksync.check_type('stream', 'paginator', format('"%s"', option),
			paginator -> option, '{number}', detail);
	END LOOP;
	FOREACH option IN ARRAY '{next_url_path,has_more_path,total_path}'::text[] LOOP
		PERFORM jacksync.check_jsonpath('stream', 'paginator', format('"%s"', option),
			paginator -> option, detail);
	END LOOP;
	IF paginator ->> 'type' IN ('page_number', 'offset') AND NOT paginator ? 'page_size'
		AND NOT paginator ? 'has_more_path' THEN
		PERFORM jacksync.config_error('stream', 'paginator', 'member "page_size" is missing', detail,
			'Without it the last page, which is shorter, cannot be told. It is also what {limit} stands for.');
	END IF;
	IF paginator ->> 'type' = 'cursor' AND NOT paginator ? 'cursor_path' THEN
		PERFORM jacksync.config_error('stream', 'paginator', 'member "cursor_path" is missing', detail,
			'Write where the next cursor is, such as "$.cursor" or "record.id".');
	END IF;
	IF paginator ->> 'type' = 'next_url' AND NOT paginator ? 'next_url_path' THEN
		PERFORM jacksync.config_error('stream', 'paginator', 'member "next_url_path" is missing', detail,
			'Write where the address of the next page is, such as "$.next".');
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.check_paginator(jsonb, text) IS
'checks how pages are walked through (internal)';

CREATE FUNCTION jacksync.stream_check()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail	text := format('Stream of entity "%s" from server "%s".', NEW.entity, NEW.server);
	operation text;
BEGIN
	IF NOT jacksync.is_restore() THEN
		PERFORM jacksync.check_server('stream', 'server', NEW.server, detail);
	END IF;
	IF NEW.sync_mode = 'event_queue' OR NEW.detail IS NOT NULL OR NEW.step IS NOT NULL
		OR NEW.row_order = 'desc' OR NEW.response_rules <> '[]' THEN
		RAISE EXCEPTION 'event queues, detail requests, steps, descending feeds and response rules are not supported by this version'
			USING ERRCODE = 'feature_not_supported', DETAIL = detail,
				HINT = 'Use sync_mode incremental or full_refresh and leave detail, step, row_order and response_rules alone.';
	END IF;
	PERFORM jacksync.check_request('request', NEW.request, '{}', detail);
	IF NEW.full_request IS NOT NULL THEN
		PERFORM jacksync.check_request('full_request', NEW.full_request, '{}', detail);
	END IF;
	PERFORM jacksync.check_fields(NEW.fields, detail);
	PERFORM jacksync.check_paginator(NEW.paginator, detail);
	IF NEW.push IS NOT NULL THEN
		PERFORM jacksync.check_members('stream', 'push', 'the value', NEW.push,
			'{read,read_before_write,if_match,idempotency_header,update}', detail);
		PERFORM jacksync.check_type('stream', 'push', '"read_before_write"',
			NEW.push -> 'read_before_write', '{boolean}', detail);
		IF NOT NEW.push ? 'read' THEN
			PERFORM jacksync.config_error('stream', 'push', 'member "read" is missing', detail,
				'Write the request that reads one record: it settles what became of a push without an answer.');
		END IF;
		PERFORM jacksync.check_request('push', NEW.push -> 'read', '{record_path}', detail);
		FOREACH operation IN ARRAY '{update}'::text[] LOOP
			CONTINUE WHEN NOT NEW.push ? operation;
			PERFORM jacksync.check_request('push', NEW.push -> operation,
				'{body_style,wrap,constants,fields}', detail);
			PERFORM jacksync.check_one_of('stream', 'push',
				coalesce(NEW.push #>> ARRAY[operation, 'body_style'], 'merge'), '{merge,form}', detail);
		END LOOP;
	END IF;
	IF NEW.datetime_format NOT IN ('iso_z_seconds', 'iso_z', 'iso_offset', 'epoch', 'epoch_ms')
		AND NEW.datetime_format !~ 'YY|HH|MM' THEN
		PERFORM jacksync.config_error('stream', 'datetime_format',
			format('"%s" is neither a name nor a pattern', left(NEW.datetime_format, 100)), detail,
			'Write iso_z_seconds, iso_z, iso_offset, epoch, epoch_ms, or a pattern of to_char() such as YYYY-MM-DD HH24:MI:SS.');
	END IF;
	IF NEW.datetime_zone IS NOT NULL AND NOT EXISTS (
		SELECT FROM pg_timezone_names z WHERE z.name = NEW.datetime_zone) THEN
		PERFORM jacksync.config_error('stream', 'datetime_zone',
			format('time zone "%s" does not exist', left(NEW.datetime_zone, 100)), detail,
			'Write a name such as Europe/Berlin or UTC.');
	END IF;
	IF NEW.poll_interval < interval '100 ms' THEN
		PERFORM jacksync.config_error('stream', 'poll_interval', format('%s is too short', NEW.poll_interval),
			detail, 'Write at least 100 ms; a PMS commonly allows one poll in 30 to 60 s.');
	END IF;
	IF NEW.lookback_window < interval '0' OR NEW.granularity < interval '0' THEN
		PERFORM jacksync.config_error('stream',
			CASE WHEN NEW.granularity < interval '0' THEN 'granularity' ELSE 'lookback_window' END,
			'a negative interval', detail, 'Write 0 or more.');
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION jacksync.stream_check() IS 'checks a stream (trigger)';
CREATE TRIGGER stream_check
	BEFORE INSERT OR UPDATE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_check();

CREATE FUNCTION jacksync.stream_changed()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM jacksync.stream_state WHERE stream_id = OLD.stream_id;
		RETURN NULL;
	END IF;
	IF jacksync.is_restore() THEN
		RETURN NULL;
	END IF;
	INSERT INTO jacksync.stream_state (stream_id) VALUES (NEW.stream_id) ON CONFLICT DO NOTHING;
	INSERT INTO jacksync.field (entity_id, field)
		SELECT e.entity_id, f FROM jacksync.entity e, jsonb_object_keys(NEW.fields) f
		WHERE e.entity = NEW.entity
		ON CONFLICT DO NOTHING;
	-- what came without a server belongs to the first stream
	UPDATE jacksync.link l SET stream_id = NEW.stream_id
		FROM jacksync.entity e
		WHERE e.entity = NEW.entity AND l.entity_id = e.entity_id AND l.stream_id = 0;
	-- what waits may be carried now
	UPDATE jacksync.link SET dirty = true WHERE stream_id = NEW.stream_id AND waiting AND NOT dirty;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION jacksync.stream_changed() IS 'keeps the state of a stream beside it (trigger)';
CREATE TRIGGER stream_changed
	AFTER INSERT OR UPDATE OR DELETE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_changed();
