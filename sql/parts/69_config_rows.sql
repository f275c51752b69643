/*
 * Servers, entities, streams and maintenance windows in the document of
 * load_config(): members are the options, or the columns in camelCase.
 * Secrets are in user mappings, and so in no document.
 */
CREATE FUNCTION jacksync.document_server(place text, server name, options jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old		text[];
	changes	text;
BEGIN
	PERFORM jacksync.document_check(place, options, 'object');
	SELECT coalesce(s.srvoptions, '{}') INTO old FROM pg_foreign_server s WHERE s.srvname = server;
	IF NOT FOUND THEN
		EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER jacksync OPTIONS (%s)', server,
			(SELECT string_agg(format('%I %L', o.key, o.value), ', ') FROM jsonb_each_text(options) AS o));
		RETURN;
	END IF;
	SELECT string_agg(CASE
			WHEN n.key IS NULL THEN format('DROP %I', o.option_name)
			WHEN o.option_name IS NULL THEN format('ADD %I %L', n.key, n.value)
			ELSE format('SET %I %L', n.key, n.value) END, ', ')
		INTO changes
		FROM pg_options_to_table(old) AS o FULL JOIN jsonb_each_text(options) AS n ON n.key = o.option_name
		WHERE o.option_value IS DISTINCT FROM n.value;
	IF changes IS NOT NULL THEN
		EXECUTE format('ALTER SERVER %I OPTIONS (%s)', server, changes);
	END IF;
EXCEPTION WHEN fdw_error OR syntax_error OR wrong_object_type THEN
	PERFORM jacksync.document_error(place, SQLERRM, 'Members are the options of CREATE SERVER ... FOREIGN DATA WRAPPER jacksync.');
END
$$;
COMMENT ON FUNCTION jacksync.document_server(text, name, jsonb) IS
'makes a server, or changes its options to those of a document (internal)';

/* one row of a configuration table; columns that are not named keep what they have */
CREATE FUNCTION jacksync.document_row(place text, tab text, keys text[], item jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known	text[] := ARRAY(SELECT jacksync.camel_case(a.attname) FROM pg_attribute a
		WHERE a.attrelid = ('jacksync.' || tab)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
		ORDER BY a.attnum);
	fields	jsonb;
	names	text[];
	found	boolean;
BEGIN
	PERFORM jacksync.document_check(place, item, 'object', known);
	SELECT jsonb_object_agg(jacksync.snake_case(m.key), m.value), array_agg(jacksync.snake_case(m.key))
		INTO fields, names FROM jsonb_each(item) AS m;
	EXECUTE format('SELECT true FROM jacksync.%1$I AS t, jsonb_populate_record(NULL::jacksync.%1$I, $1) AS n WHERE %2$s', tab,
			(SELECT string_agg(format('t.%1$I = n.%1$I', k), ' AND ') FROM unnest(keys) AS k))
		INTO found USING fields;
	IF found THEN
		EXECUTE format('UPDATE jacksync.%1$I AS t SET %2$s FROM jsonb_populate_record(NULL::jacksync.%1$I, $1) AS n WHERE %3$s AND (%4$s)', tab,
				(SELECT string_agg(format('%1$I = n.%1$I', n), ', ') FROM unnest(names) AS n),
				(SELECT string_agg(format('t.%1$I = n.%1$I', k), ' AND ') FROM unnest(keys) AS k),
				-- as texts: a jsonpath has no equality
				(SELECT string_agg(format('t.%1$I::text IS DISTINCT FROM n.%1$I::text', n), ' OR ') FROM unnest(names) AS n))
			USING fields;
	ELSE
		EXECUTE format('INSERT INTO jacksync.%1$I (%2$s) SELECT %2$s FROM jsonb_populate_record(NULL::jacksync.%1$I, $1)', tab,
				(SELECT string_agg(quote_ident(n), ', ') FROM unnest(names) AS n))
			USING fields;
	END IF;
EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation OR integrity_constraint_violation OR invalid_schema_name THEN
	PERFORM jacksync.document_error(place, SQLERRM, format('Members are the columns of jacksync.%s in camelCase.', tab));
END
$$;
COMMENT ON FUNCTION jacksync.document_row(text, text, text[], jsonb) IS
'writes one row of a configuration table out of a document (internal)';

CREATE FUNCTION jacksync.document_rows(doc jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name	text;
	item	jsonb;
	n		integer;
	part	text;
	place	text;
	m		text;
	d		text;
	h		text;
	s		text;
BEGIN
	FOR part IN SELECT p FROM unnest('{servers,entities}'::text[]) AS p WHERE doc ? p LOOP
		PERFORM jacksync.document_check('sync.' || part, doc -> part, 'object');
		FOR name, item IN SELECT * FROM jsonb_each(doc -> part) LOOP
			place := format('sync.%s.%s', part, name);
			IF part = 'servers' THEN
				PERFORM jacksync.document_server(place, name, item);
			ELSE
				PERFORM jacksync.document_check(place, item, 'object');
				PERFORM jacksync.document_row(place, 'entity', '{entity}', item || jsonb_build_object('entity', name));
			END IF;
		END LOOP;
	END LOOP;
	FOR part IN SELECT p FROM unnest('{streams,maintenance}'::text[]) AS p WHERE doc ? p LOOP
		PERFORM jacksync.document_check('sync.' || part, doc -> part, 'array');
		FOR item, n IN SELECT e, i - 1 FROM jsonb_array_elements(doc -> part) WITH ORDINALITY AS c (e, i) LOOP
			place := format('sync.%s[%s]', part, n);
			PERFORM CASE part
				WHEN 'streams' THEN jacksync.document_row(place, 'stream', '{entity,server}', item)
				ELSE jacksync.document_row(place, 'maintenance_window', '{server,starts,ends}', item) END;
		END LOOP;
	END LOOP;
EXCEPTION WHEN SQLSTATE 'JS002' THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL, h = PG_EXCEPTION_HINT, s = TABLE_NAME;
	IF s = '' THEN
		RAISE;				-- it says its place
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'JS002', DETAIL = d, HINT = h,
		MESSAGE = format('invalid configuration document at %s: %s', place, m);
END
$$;
COMMENT ON FUNCTION jacksync.document_rows(jsonb) IS
'servers, entities, streams and maintenance windows of a document (internal)';

/* columns as members: no numbers of our own, nothing that is NULL */
CREATE FUNCTION jacksync.document_members(fields jsonb, without text[])
RETURNS jsonb
LANGUAGE sql
IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_object_agg(jacksync.camel_case(f.key), f.value)
	FROM jsonb_each(fields) AS f WHERE f.value <> 'null' AND f.key <> ALL (without)
$$;
COMMENT ON FUNCTION jacksync.document_members(jsonb, text[]) IS
'a row as members of a document (internal)';

CREATE FUNCTION jacksync.document_of_rows()
RETURNS jsonb
LANGUAGE sql
STABLE
SET IntervalStyle = 'postgres'
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object(
		'servers', (SELECT jsonb_object_agg(s.srvname, (
				SELECT coalesce(jsonb_object_agg(o.option_name, o.option_value), '{}') FROM pg_options_to_table(s.srvoptions) AS o))
			FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE w.fdwname = 'jacksync')))
	-- members of requests may be null, and mean it
	|| coalesce((SELECT jsonb_build_object('entities', jsonb_object_agg(e.entity,
			jacksync.document_members(to_jsonb(e) || jsonb_build_object('local_table', r.name), '{entity,entity_id}')))
		FROM jacksync.entity e, LATERAL (SELECT format('%I.%I', n.nspname, c.relname) AS name
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = e.local_table) AS r
		HAVING count(*) > 0), '{}')
	|| coalesce((SELECT jsonb_build_object('streams', jsonb_agg(jacksync.document_members(to_jsonb(t), '{stream_id}')
			ORDER BY t.entity, t.server))
		FROM jacksync.stream t HAVING count(*) > 0), '{}')
	|| coalesce((SELECT jsonb_build_object('maintenance', jsonb_agg(jacksync.document_members(to_jsonb(w), '{window_id}')
			ORDER BY w.server, w.starts))
		FROM jacksync.maintenance_window w HAVING count(*) > 0), '{}')
$$;
COMMENT ON FUNCTION jacksync.document_of_rows() IS
'servers, entities, streams and maintenance windows as a document (internal)';
