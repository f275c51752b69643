/*
 * Checks of jacksync.stream: requests, fields, paginators, pushes.
 */

CREATE FUNCTION jacksync.check_request(col text, place text, req jsonb, extra text[], path_required boolean, detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pair record;
BEGIN
	IF req IS NULL THEN
		RETURN;
	END IF;
	PERFORM jacksync.check_members('stream', col, place, req,
		'{method,path,query,headers,body}'::text[] || extra, detail);

	PERFORM jacksync.check_type('stream', col, place || '.method', req -> 'method', '{string}', detail);
	IF req ->> 'method' NOT IN ('GET', 'POST', 'PUT', 'PATCH', 'DELETE') THEN
		PERFORM jacksync.config_error('stream', col,
			format('%s.method is "%s"', place, left(req ->> 'method', 100)), detail,
			'Valid methods are: GET, POST, PUT, PATCH, DELETE.');
	END IF;
	IF path_required AND req -> 'path' IS NULL THEN
		PERFORM jacksync.config_error('stream', col,
			format('%s has no member "path"', place), detail,
			'Write the path below base_url of the server, such as {"path": "/reservations"}.');
	END IF;
	PERFORM jacksync.check_type('stream', col, place || '.path', req -> 'path', '{string}', detail);
	IF req ->> 'path' !~ '^/' OR req ->> 'path' ~ '[[:cntrl:][:space:]]' THEN
		PERFORM jacksync.config_error('stream', col,
			format('%s.path is "%s"', place, left(req ->> 'path', 100)), detail,
			'A path starts with / and is appended to base_url of the server; parameters go into "query".');
	END IF;
	PERFORM jacksync.check_type('stream', col, place || '.query', req -> 'query', '{object}', detail);
	IF jsonb_typeof(req -> 'query') = 'object' THEN
		FOR pair IN SELECT key, value FROM jsonb_each(req -> 'query') LOOP
			PERFORM jacksync.check_type('stream', col, format('%s.query.%s', place, pair.key), pair.value,
				'{string,number,boolean,array,object,null}', detail);
		END LOOP;
	END IF;
	PERFORM jacksync.check_type('stream', col, place || '.headers', req -> 'headers', '{object}', detail);
	IF jsonb_typeof(req -> 'headers') = 'object' THEN
		FOR pair IN SELECT key, value FROM jsonb_each(req -> 'headers') LOOP
			IF pair.key !~ '^[A-Za-z0-9!#$%&''*+.^_`|~-]+$' THEN
				PERFORM jacksync.config_error('stream', col,
					format('%s.headers has the name "%s"', place, left(pair.key, 100)), detail,
					'The name of a header has letters, digits and hyphens.');
			END IF;
			IF lower(pair.key) IN ('host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer', 'expect') THEN
				PERFORM jacksync.config_error('stream', col,
					format('%s.headers has the header "%s"', place, pair.key), detail,
					'That header belongs to the connection: the host is the one of base_url.');
			END IF;
			PERFORM jacksync.check_type('stream', col, format('%s.headers.%s', place, pair.key), pair.value,
				'{string,number}', detail);
			IF pair.value #>> '{}' ~ '[[:cntrl:]]' THEN
				PERFORM jacksync.config_error('stream', col,
					format('%s.headers.%s has a control character', place, pair.key), detail,
					'A header is one line.');
			END IF;
		END LOOP;
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_request(text, text, jsonb, text[], boolean, text) IS
'checks the description of a request (internal)';

CREATE FUNCTION jacksync.check_fields(fields jsonb, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pair record;
	path jsonb;
BEGIN
	PERFORM jacksync.check_type('stream', 'fields', 'the value', fields, '{object}', detail);
	FOR pair IN SELECT key, value FROM jsonb_each(fields) LOOP
		IF pair.key = '' OR pair.key = '*' THEN
			PERFORM jacksync.config_error('stream', 'fields', format('bad name of a field "%s"', pair.key), detail,
				'Name one field, such as guestName.');
		END IF;
		IF jsonb_typeof(pair.value) = 'string' THEN
			PERFORM jacksync.check_jsonpath('stream', 'fields', pair.key, pair.value, detail);
			CONTINUE;
		END IF;
		PERFORM jacksync.check_members('stream', 'fields', pair.key, pair.value,
			'{path,paths,separator,map,map_default,default,blank_is_null,null_values,zone,format}', detail);
		PERFORM jacksync.check_jsonpath('stream', 'fields', pair.key || '.path', pair.value -> 'path', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.paths', pair.value -> 'paths', '{array}', detail);
		IF pair.value ? 'path' AND pair.value ? 'paths' THEN
			PERFORM jacksync.config_error('stream', 'fields',
				format('%s has both "path" and "paths"', pair.key), detail, 'Write one of them.');
		END IF;
		IF jsonb_typeof(pair.value -> 'paths') = 'array' THEN
			FOR path IN SELECT p FROM jsonb_array_elements(pair.value -> 'paths') AS p LOOP
				PERFORM jacksync.check_jsonpath('stream', 'fields', pair.key || '.paths', path, detail);
			END LOOP;
		END IF;
		IF pair.value ? 'separator' AND NOT pair.value ? 'paths' THEN
			PERFORM jacksync.config_error('stream', 'fields',
				format('%s has "separator" without "paths"', pair.key), detail,
				'A separator joins the values of several paths.');
		END IF;
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.separator', pair.value -> 'separator', '{string}', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.map', pair.value -> 'map', '{object}', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.blank_is_null', pair.value -> 'blank_is_null', '{boolean}', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.null_values', pair.value -> 'null_values', '{array}', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.zone', pair.value -> 'zone', '{string}', detail);
		PERFORM jacksync.check_type('stream', 'fields', pair.key || '.format', pair.value -> 'format', '{string}', detail);
		IF pair.value ? 'format' AND NOT pair.value ? 'zone' THEN
			PERFORM jacksync.config_error('stream', 'fields',
				format('%s has "format" without "zone"', pair.key), detail,
				'The format is how a time is written to the PMS on the clocks of a zone.');
		END IF;
		IF pair.value ? 'map_default' AND NOT pair.value ? 'map' THEN
			PERFORM jacksync.config_error('stream', 'fields',
				format('%s has "map_default" without "map"', pair.key), detail,
				'The default of a map is for values that the map does not have.');
		END IF;
		PERFORM jacksync.check_zone('fields', pair.value ->> 'zone', detail);
	END LOOP;
END;
$$;
COMMENT ON FUNCTION jacksync.check_fields(jsonb, text) IS 'checks the mapping of fields (internal)';

CREATE FUNCTION jacksync.check_zone(col text, zone text, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF zone IS NULL THEN
		RETURN;
	END IF;
	BEGIN
		PERFORM timezone(zone, now());
	EXCEPTION WHEN data_exception THEN
		PERFORM jacksync.config_error('stream', col, format('unknown time zone "%s"', left(zone, 100)), detail,
			'Write a name of pg_timezone_names, such as Europe/Madrid.');
	END;
END;
$$;
COMMENT ON FUNCTION jacksync.check_zone(text, text, text) IS 'refuses an unknown time zone (internal)';

CREATE FUNCTION jacksync.check_distance(req jsonb, member text, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM jacksync.check_type('stream', 'full_request', member, req -> member, '{string}', detail);
	PERFORM (req ->> member)::interval;
EXCEPTION WHEN data_exception THEN
	PERFORM jacksync.config_error('stream', 'full_request', format('%s is "%s"', member, left(req ->> member, 100)), detail,
		'Write how far from now the range begins or ends, such as "-30 days" or "1 year".');
END;
$$;
COMMENT ON FUNCTION jacksync.check_distance(jsonb, text, text) IS 'checks an end of a range (internal)';

CREATE FUNCTION jacksync.check_paginator(pag jsonb, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	member text;
	needs text;
BEGIN
	PERFORM jacksync.check_members('stream', 'paginator', 'the value', pag,
		'{type,page_size,base_page,offset_unit,cursor_path,next_url_path,has_more_path,total_path,max_pages,event_id,event_time,ack}', detail);
	PERFORM jacksync.check_type('stream', 'paginator', 'type', coalesce(pag -> 'type', 'null'), '{string}', detail);
	PERFORM jacksync.check_one_of('stream', 'paginator', pag ->> 'type',
		'{single_page,page_number,offset,cursor,next_url,header_link}', detail);
	FOREACH member IN ARRAY '{page_size,base_page,max_pages}'::text[] LOOP
		PERFORM jacksync.check_type('stream', 'paginator', member, pag -> member, '{number}', detail);
		IF (pag ->> member)::numeric < (member <> 'base_page')::integer
			OR (pag ->> member)::numeric <> trunc((pag ->> member)::numeric)
			OR (pag ->> member)::numeric > 2147483647
		THEN
			PERFORM jacksync.config_error('stream', 'paginator', format('%s is %s', member, pag ->> member), detail,
				'It must be a whole number, positive but for base_page, which may be 0.');
		END IF;
	END LOOP;
	FOREACH member IN ARRAY '{next_url_path,has_more_path,total_path,event_id,event_time}'::text[] LOOP
		PERFORM jacksync.check_jsonpath('stream', 'paginator', member, pag -> member, detail);
	END LOOP;
	PERFORM jacksync.check_type('stream', 'paginator', 'cursor_path', pag -> 'cursor_path', '{string}', detail);
	IF pag ->> 'cursor_path' !~ '^record\.' THEN
		PERFORM jacksync.check_jsonpath('stream', 'paginator', 'cursor_path', pag -> 'cursor_path', detail);
	END IF;
	IF pag ? 'offset_unit' AND coalesce(pag ->> 'offset_unit', '') NOT IN ('record', 'page') THEN
		PERFORM jacksync.config_error('stream', 'paginator', format('offset_unit is %s', left((pag -> 'offset_unit')::text, 100)), detail,
			'Valid values are: record, page.');
	END IF;
	PERFORM jacksync.check_request('paginator', 'ack', pag -> 'ack', '{}', true, detail);
	needs := CASE pag ->> 'type' WHEN 'cursor' THEN 'cursor_path' WHEN 'next_url' THEN 'next_url_path' END;
	IF needs IS NOT NULL AND NOT pag ? needs THEN
		PERFORM jacksync.config_error('stream', 'paginator',
			format('type "%s" without "%s"', pag ->> 'type', needs), detail,
			format('Add "%s": the jsonpath in the answer, such as "$.next".', needs));
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_paginator(jsonb, text) IS 'checks a paginator (internal)';

CREATE FUNCTION jacksync.check_push(push jsonb, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	operation text;
	request text;
	op jsonb;
	n integer;
BEGIN
	IF push IS NULL THEN
		RETURN;
	END IF;
	PERFORM jacksync.check_members('stream', 'push', 'the value', push,
		'{read,find,read_before_write,if_match,idempotency_header,reference_path,update,create,delete}', detail);
	FOREACH request IN ARRAY '{read,find}'::text[] LOOP
		PERFORM jacksync.check_request('push', request, push -> request, '{record_path,success_path,primary_key}', true, detail);
		PERFORM jacksync.check_jsonpath('stream', 'push', request || '.record_path', push -> request -> 'record_path', detail);
		PERFORM jacksync.check_jsonpath('stream', 'push', request || '.success_path', push -> request -> 'success_path', detail);
		PERFORM jacksync.check_jsonpath('stream', 'push', request || '.primary_key', push -> request -> 'primary_key', detail);
	END LOOP;
	PERFORM jacksync.check_type('stream', 'push', 'read_before_write', push -> 'read_before_write', '{boolean}', detail);
	IF (push ->> 'read_before_write') = 'true' AND NOT push ? 'read' THEN
		PERFORM jacksync.config_error('stream', 'push', 'read_before_write without "read"', detail,
			'Add "read": the request that reads one record, such as {"path": "/reservations/{record.id}"}.');
	END IF;
	IF push ? 'find' AND (push -> 'find')::text NOT LIKE '%{record.%' THEN
		PERFORM jacksync.config_error('stream', 'push', 'find does not say which record', detail,
			'Put our reference into the request, such as {"query": {"externalReference": "{record.reference}"}}.');
	END IF;
	PERFORM jacksync.check_type('stream', 'push', 'if_match', push -> 'if_match', '{string}', detail);
	IF push ->> 'if_match' <> 'etag' THEN
		PERFORM jacksync.check_jsonpath('stream', 'push', 'if_match', push -> 'if_match', detail);
	END IF;
	PERFORM jacksync.check_jsonpath('stream', 'push', 'reference_path', push -> 'reference_path', detail);
	PERFORM jacksync.check_type('stream', 'push', 'idempotency_header', push -> 'idempotency_header', '{string}', detail);
	IF push ->> 'idempotency_header' !~ '^[A-Za-z0-9-]+$' THEN
		PERFORM jacksync.config_error('stream', 'push',
			format('idempotency_header is "%s"', left(push ->> 'idempotency_header', 100)), detail,
			'Write the name of a header, such as Idempotency-Key.');
	END IF;

	FOREACH operation IN ARRAY '{update,create,delete}'::text[] LOOP
		n := 0;
		PERFORM jacksync.check_type('stream', 'push', operation, push -> operation, '{object,array}', detail);
		FOR op IN
			SELECT e FROM jsonb_array_elements(
				CASE jsonb_typeof(push -> operation) WHEN 'array' THEN push -> operation
					WHEN 'object' THEN jsonb_build_array(push -> operation) ELSE '[]' END) AS e
		LOOP
			PERFORM jacksync.check_operation(operation,
				CASE jsonb_typeof(push -> operation) WHEN 'array' THEN format('%s[%s]', operation, n) ELSE operation END,
				op, push, detail);
			n := n + 1;
		END LOOP;
	END LOOP;
END;
$$;
COMMENT ON FUNCTION jacksync.check_push(jsonb, text) IS 'checks how records are written (internal)';

CREATE FUNCTION jacksync.check_operation(kind text, place text, op jsonb, push jsonb, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	pair record;
BEGIN
	PERFORM jacksync.check_request('push', place, op,
		'{body_style,wrap,constants,fields,when,nulls,replace_at,read_back,success_path,id_path}', true, detail);
	IF op ? 'body_style' AND coalesce(op ->> 'body_style', '') NOT IN ('merge', 'json_patch', 'replace', 'form') THEN
		PERFORM jacksync.config_error('stream', 'push',
			format('%s.body_style is %s', place, left((op -> 'body_style')::text, 100)), detail,
			'Valid values are: merge, json_patch, replace, form.');
	END IF;
	IF op ? 'nulls' AND coalesce(op ->> 'nulls', '') NOT IN ('send', 'omit', 'refuse') THEN
		PERFORM jacksync.config_error('stream', 'push',
			format('%s.nulls is %s', place, left((op -> 'nulls')::text, 100)), detail,
			'Valid values are: send, omit, refuse.');
	END IF;
	PERFORM jacksync.check_type('stream', 'push', place || '.wrap', op -> 'wrap', '{string}', detail);
	PERFORM jacksync.check_type('stream', 'push', place || '.constants', op -> 'constants', '{object}', detail);
	PERFORM jacksync.check_type('stream', 'push', place || '.read_back', op -> 'read_back', '{boolean}', detail);
	PERFORM jacksync.check_jsonpath('stream', 'push', place || '.success_path', op -> 'success_path', detail);
	PERFORM jacksync.check_type('stream', 'push', place || '.id_path', op -> 'id_path', '{string}', detail);
	IF op ->> 'id_path' !~ '^[A-Za-z][A-Za-z0-9-]*$' THEN		-- else the name of a header
		PERFORM jacksync.check_jsonpath('stream', 'push', place || '.id_path', op -> 'id_path', detail);
	END IF;
	IF op ? 'id_path' AND kind <> 'create' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s.id_path in an operation that creates nothing', place), detail,
			'Only an operation of "create" brings a new id.');
	END IF;

	PERFORM jacksync.check_type('stream', 'push', place || '.fields', op -> 'fields', '{object}', detail);
	IF jsonb_typeof(op -> 'fields') = 'object' THEN
		FOR pair IN SELECT key, value FROM jsonb_each(op -> 'fields') LOOP
			PERFORM jacksync.check_type('stream', 'push', format('%s.fields.%s', place, pair.key),
				pair.value, '{string}', detail);
			PERFORM jacksync.check_write_path(format('%s.fields.%s', place, pair.key), pair.value #>> '{}', detail);
		END LOOP;
	END IF;
	PERFORM jacksync.check_type('stream', 'push', place || '.when', op -> 'when', '{object}', detail);
	IF op -> 'when' = '{}' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s.when is empty', place), detail,
			'Name the fields and the values that choose the operation, such as {"status": "canceled"}.');
	END IF;
	IF op ? 'when' AND kind = 'delete' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s.when in an operation that deletes', place), detail,
			'A delete has no values to choose by.');
	END IF;

	PERFORM jacksync.check_type('stream', 'push', place || '.replace_at', op -> 'replace_at', '{string}', detail);
	PERFORM jacksync.check_write_path(place || '.replace_at', op ->> 'replace_at', detail);
	IF (op ? 'replace_at' OR op ->> 'body_style' = 'replace') AND NOT push ? 'read' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s replaces an object that cannot be read', place), detail,
			'Add "read": what is not changed is sent back as it is.');
	END IF;
	IF op ->> 'body_style' = 'replace' AND kind <> 'update' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s.body_style is replace', place), detail,
			'Only an update has something to replace.');
	END IF;
	-- a body that carries no change would be sent for nothing
	IF op ? 'body' AND kind <> 'delete' AND NOT op ? 'when'
		AND concat(op -> 'body', op -> 'path', op -> 'query') !~ '\{(changes|record)\}|\{record\.(?!id\}|reference\})'
	THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s.body has no place for the changes', place), detail,
			'Write "{changes}", or "{record}" for the whole record, where they belong.');
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_operation(text, text, jsonb, jsonb, text) IS 'checks one operation that writes (internal)';

CREATE FUNCTION jacksync.check_write_path(place text, path text, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF path = '' OR path ~ '[*?()@[:cntrl:]]' OR path ~ '\[[^]]*$' THEN
		PERFORM jacksync.config_error('stream', 'push', format('%s is "%s"', place, left(path, 100)), detail,
			'Write where the value goes, such as guest.name, rooms[0].id or /guest/name.');
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_write_path(text, text, text) IS 'refuses a path to which nothing can be written (internal)';

CREATE FUNCTION jacksync.check_response_rules(rules jsonb, detail text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rule jsonb;
	status jsonb;
	n integer := 0;
	place text;
BEGIN
	PERFORM jacksync.check_type('stream', 'response_rules', 'the value', rules, '{array}', detail);
	FOR rule IN SELECT r FROM jsonb_array_elements(rules) AS r LOOP
		place := format('[%s]', n);
		n := n + 1;
		PERFORM jacksync.check_members('stream', 'response_rules', place, rule, '{status,predicate,action}', detail);
		IF NOT rule ? 'status' AND NOT rule ? 'predicate' THEN
			PERFORM jacksync.config_error('stream', 'response_rules',
				format('%s has neither "status" nor "predicate"', place), detail,
				'Say which answers the rule is for, such as {"status": 409, "action": "retry"}.');
		END IF;
		PERFORM jacksync.check_type('stream', 'response_rules', place || '.status', rule -> 'status', '{number,array}', detail);
		IF rule ? 'status' THEN
			FOR status IN
				SELECT s FROM jsonb_array_elements(
					CASE jsonb_typeof(rule -> 'status') WHEN 'array' THEN rule -> 'status'
						ELSE jsonb_build_array(rule -> 'status') END) AS s
			LOOP
				IF status::text !~ '^[1-5][0-9][0-9]$' THEN
					PERFORM jacksync.config_error('stream', 'response_rules',
						format('%s.status is %s', place, left(status::text, 100)), detail,
						'Write a status of HTTP, 100 to 599, or an array of them.');
				END IF;
			END LOOP;
		END IF;
		PERFORM jacksync.check_jsonpath('stream', 'response_rules', place || '.predicate', rule -> 'predicate', detail);
		IF coalesce(rule ->> 'action', '') NOT IN ('retry', 'ignore', 'fail_record', 'fail', 'rate_limited', 'refresh_token') THEN
			PERFORM jacksync.config_error('stream', 'response_rules',
				format('%s.action is %s', place, left(coalesce(rule -> 'action', 'null')::text, 100)), detail,
				'Valid actions are: retry, ignore, fail_record, fail, rate_limited, refresh_token.');
		END IF;
	END LOOP;
END;
$$;
COMMENT ON FUNCTION jacksync.check_response_rules(jsonb, text) IS 'checks what unusual answers mean (internal)';

CREATE FUNCTION jacksync.stream_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Stream of entity "%s" and server "%s".', NEW.entity, NEW.server);
	ent jacksync.entity;
	known text;
	pair record;
BEGIN
	IF NEW.entity IS NULL OR NEW.server IS NULL OR NEW.request IS NULL OR NEW.fields IS NULL
		OR NEW.paginator IS NULL OR NEW.response_rules IS NULL OR NEW.datetime_format IS NULL
	THEN
		RETURN NEW;		-- the table's own constraints say it
	END IF;
	SELECT * INTO ent FROM jacksync.entity e WHERE e.entity = NEW.entity;
	IF NOT FOUND AND NOT jacksync.is_restore() AND (TG_OP = 'INSERT' OR NEW.entity = OLD.entity) THEN
		SELECT string_agg(e.entity, ', ' ORDER BY e.entity) INTO known FROM jacksync.entity e;
		PERFORM jacksync.config_error('stream', 'entity', format('entity "%s" is not bound to a table', NEW.entity), detail,
			coalesce('Entities are: ' || known || '.',
				'Bind it first with INSERT INTO jacksync.entity (entity, local_table) VALUES (...).'));
	END IF;
	/* who says what is requested must be allowed to use the server */
	IF TG_OP = 'INSERT' OR (NEW.server, NEW.request, NEW.full_request, NEW.detail, NEW.push, NEW.paginator)
		IS DISTINCT FROM (OLD.server, OLD.request, OLD.full_request, OLD.detail, OLD.push, OLD.paginator)
	THEN
		PERFORM jacksync.check_server('stream', 'server', NEW.server, detail);
	END IF;
	PERFORM jacksync.check_one_of('stream', 'sync_mode', NEW.sync_mode, '{incremental,full_refresh,event_queue}', detail);
	PERFORM jacksync.check_one_of('stream', 'row_order', NEW.row_order, '{asc,desc}', detail);

	PERFORM jacksync.check_request('request', 'the value', NEW.request, '{}', true, detail);
	PERFORM jacksync.check_request('full_request', 'the value', NEW.full_request,
		'{record_path,primary_key,cursor_path,paginator,from,to}', true, detail);
	PERFORM jacksync.check_jsonpath('stream', 'full_request', 'record_path', NEW.full_request -> 'record_path', detail);
	PERFORM jacksync.check_jsonpath('stream', 'full_request', 'primary_key', NEW.full_request -> 'primary_key', detail);
	PERFORM jacksync.check_jsonpath('stream', 'full_request', 'cursor_path', NEW.full_request -> 'cursor_path', detail);
	IF NEW.full_request ? 'paginator' THEN
		PERFORM jacksync.check_paginator(NEW.full_request -> 'paginator', detail);
	END IF;
	PERFORM jacksync.check_distance(NEW.full_request, 'from', detail);
	PERFORM jacksync.check_distance(NEW.full_request, 'to', detail);
	PERFORM jacksync.check_request('detail', 'the value', NEW.detail, '{record_path,primary_key,batch_size}', true, detail);
	PERFORM jacksync.check_jsonpath('stream', 'detail', 'record_path', NEW.detail -> 'record_path', detail);
	PERFORM jacksync.check_jsonpath('stream', 'detail', 'primary_key', NEW.detail -> 'primary_key', detail);
	IF NEW.detail ? 'batch_size' AND (NEW.detail -> 'batch_size')::text !~ '^[1-9][0-9]{0,5}$' THEN
		PERFORM jacksync.config_error('stream', 'detail',
			format('batch_size is %s', left((NEW.detail -> 'batch_size')::text, 100)), detail,
			'Write a positive whole number: how many ids one request takes.');
	END IF;
	PERFORM jacksync.check_fields(NEW.fields, detail);
	PERFORM jacksync.check_paginator(NEW.paginator, detail);
	PERFORM jacksync.check_push(NEW.push, detail);
	PERFORM jacksync.check_response_rules(NEW.response_rules, detail);

	IF NEW.datetime_format NOT IN ('iso_z_seconds', 'iso_z', 'iso_offset', 'epoch', 'epoch_ms')
		AND NOT (NEW.datetime_format ~* 'yy' AND NEW.datetime_format ~* '(mm|mon|ddd|iw|ww)')
	THEN
		PERFORM jacksync.config_error('stream', 'datetime_format',
			format('"%s" is neither a known name nor a pattern with year and day', left(NEW.datetime_format, 100)), detail,
			'Write iso_z_seconds, iso_z, iso_offset, epoch, epoch_ms, or a pattern of to_char() such as YYYY-MM-DD"T"HH24:MI:SS.');
	END IF;
	PERFORM jacksync.check_zone('datetime_zone', NEW.datetime_zone, detail);

	FOR pair IN
		SELECT v.col, v.value, v.lower
		FROM (VALUES ('granularity', NEW.granularity, 'positive'),
				('lookback_window', NEW.lookback_window, 'not negative'),
				('step', NEW.step, 'positive'),
				('poll_interval', NEW.poll_interval, 'positive'),
				('reconcile_interval', NEW.reconcile_interval, 'positive')) AS v (col, value, lower)
		WHERE v.value < interval '0' OR (v.lower = 'positive' AND v.value = interval '0')
	LOOP
		PERFORM jacksync.config_error('stream', pair.col, format('"%s" is too short', pair.value), detail,
			format('The interval must be %s.', pair.lower));
	END LOOP;

	IF NEW.sync_mode = 'event_queue' AND (NEW.parent_path IS NOT NULL OR NEW.record_path::text ~ '^strict') THEN
		PERFORM jacksync.config_error('stream', 'record_path', 'events are found by a list and a filter only', detail,
			'Write the path of the list, then a filter, such as $.events[*] ? (@.type == "Reservation"), and no parent_path.');
	END IF;
	IF NEW.sync_mode = 'event_queue' AND (NEW.paginator ->> 'type') <> 'single_page' THEN
		PERFORM jacksync.config_error('stream', 'paginator', format('type "%s" of an event queue', NEW.paginator ->> 'type'), detail,
			'A queue is read again until it is empty: write single_page; how full_request is paged, say in its own "paginator".');
	END IF;
	IF NEW.step IS NOT NULL AND NEW.sync_mode <> 'event_queue'
		AND NEW.initial_value IS NULL AND NOT coalesce(NEW.full_request ? 'from', false)
	THEN
		PERFORM jacksync.config_error('stream', 'initial_value', 'NULL, but the range is read in steps', detail,
			'Write from when on records are wanted: the first window begins there.');
	END IF;
	IF NEW.step <= NEW.granularity THEN
		PERFORM jacksync.config_error('stream', 'step', format('"%s" is too short', NEW.step), detail,
			'It must be longer than granularity.');
	END IF;
	IF NEW.key_template !~ '\{(record|parent)\.[A-Za-z0-9_.]+\}' THEN
		PERFORM jacksync.config_error('stream', 'key_template',
			format('"%s" has no placeholder', left(NEW.key_template, 100)), detail,
			'Write the values that make the id, such as {parent.id}:primary or {record.hotel}/{record.number}.');
	END IF;

	IF ent.entity IS NOT NULL AND NOT jacksync.is_restore() THEN
		IF NEW.property_value IS NOT NULL AND ent.property_column IS NULL THEN
			PERFORM jacksync.config_error('stream', 'property_value',
				format('"%s" given, but the entity has no property_column', left(NEW.property_value, 100)), detail,
				'Set jacksync.entity.property_column to the column that tells the servers apart.');
		END IF;
		IF ent.property_column IS NOT NULL THEN
			FOR pair IN
				SELECT s.server, s.property_value FROM jacksync.stream s
				WHERE s.entity = NEW.entity AND s.server <> NEW.server
					AND (TG_OP = 'INSERT' OR s.stream_id <> NEW.stream_id)
					AND (NEW.property_value IS NULL OR s.property_value = NEW.property_value)
				ORDER BY s.server LIMIT 1
			LOOP
				IF NEW.property_value IS NULL THEN
					PERFORM jacksync.config_error('stream', 'property_value',
						format('NULL, but server "%s" serves the entity too', pair.server), detail,
						format('Write the value of column "%s" for the records of this server.', ent.property_column));
				END IF;
				PERFORM jacksync.config_error('stream', 'property_value',
					format('"%s" is the value of server "%s" already', left(NEW.property_value, 100), pair.server), detail,
					'Each server of an entity has a value of its own.');
			END LOOP;
		END IF;
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.stream_check() IS 'checks a stream (trigger)';
CREATE TRIGGER stream_check
	BEFORE INSERT OR UPDATE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_check();
COMMENT ON TRIGGER stream_check ON jacksync.stream IS 'checks a stream';

CREATE FUNCTION jacksync.stream_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM jacksync.stream_state s WHERE s.stream_id = OLD.stream_id;
		DELETE FROM jacksync.detail d WHERE d.stream_id = OLD.stream_id;
		DELETE FROM jacksync.pending_delete d WHERE d.stream_id = OLD.stream_id;
		DELETE FROM jacksync.reconcile_state r WHERE r.stream_id = OLD.stream_id;
		UPDATE jacksync.event e SET pending = array_remove(e.pending, OLD.stream_id)
			WHERE e.server = OLD.server AND OLD.stream_id = ANY (e.pending);
		-- who makes a stream anew does not want its records anew
		UPDATE jacksync.link l SET stream_id = 0
			FROM jacksync.entity e
			WHERE e.entity = OLD.entity AND l.entity_id = e.entity_id AND l.stream_id = OLD.stream_id
				AND e.property_column IS NULL
				AND NOT EXISTS (SELECT FROM jacksync.stream s WHERE s.entity = OLD.entity);
	ELSIF NOT jacksync.is_restore() THEN
		INSERT INTO jacksync.stream_state (stream_id) VALUES (NEW.stream_id)
		ON CONFLICT DO NOTHING;
		INSERT INTO jacksync.field (entity_id, field)
		SELECT e.entity_id, k FROM jacksync.entity e, jsonb_object_keys(NEW.fields) AS k
		WHERE e.entity = NEW.entity
		ON CONFLICT DO NOTHING;
		IF TG_OP = 'UPDATE' AND NEW.fields <> OLD.fields THEN
			PERFORM jacksync.alert_resolve('unknown_code', NEW.entity, NEW.server);
		END IF;
	END IF;
	RETURN NULL;
END;
$$;
COMMENT ON FUNCTION jacksync.stream_changed() IS 'keeps the state of a stream and notes its fields (trigger)';
CREATE TRIGGER stream_changed
	AFTER INSERT OR UPDATE OR DELETE ON jacksync.stream
	FOR EACH ROW EXECUTE FUNCTION jacksync.stream_changed();
COMMENT ON TRIGGER stream_changed ON jacksync.stream IS 'keeps the state of a stream and notes its fields';
