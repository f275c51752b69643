/*
 * Checks of the configuration tables: a wrong row is refused when it is
 * written, with an error that names the table, the column, the bad value and
 * what would be right.
 *
 * The BEFORE triggers run with the rights of the role that writes (whether it
 * owns the table to be bound is one of the questions); what keeps the tables
 * of jacksync itself in step afterwards runs with the extension owner's.
 */

/* to be moved into 20_config.sql */
-- ---------------------------------------------------------------------------
-- Names
-- ---------------------------------------------------------------------------

CREATE FUNCTION jacksync.snake_case(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT lower(
		regexp_replace(
			regexp_replace(
				regexp_replace(name COLLATE "C", '[^A-Za-z0-9_\u0080-\U0010FFFF]+', '_', 'g'),
				'([A-Z])([A-Z][a-z])', '\1_\2', 'g'),
			'([a-z0-9])([A-Z])', '\1_\2', 'g') COLLATE "C")
$$;
COMMENT ON FUNCTION jacksync.snake_case(text) IS
'name of a field as the name of a column: checkInDate gives check_in_date';

CREATE FUNCTION jacksync.camel_case(name text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(string_agg(
			CASE WHEN i = 1 THEN word
				ELSE upper(left(word, 1) COLLATE "C") || substr(word, 2)
			END, '' ORDER BY i), '')
	FROM string_to_table(name, '_') WITH ORDINALITY AS w (word, i)
$$;
COMMENT ON FUNCTION jacksync.camel_case(text) IS
'name of a column as the name of a field: check_in_date gives checkInDate';

-- ---------------------------------------------------------------------------
-- Helpers
-- ---------------------------------------------------------------------------

CREATE FUNCTION jacksync.config_error(tab text, col text, problem text, detail text, hint text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'JS002',
		MESSAGE = format('invalid "%s" in jacksync.%s: %s', col, tab, problem),
		DETAIL = coalesce(detail, ''),
		HINT = coalesce(hint, ''),
		SCHEMA = 'jacksync',
		TABLE = tab,
		COLUMN = col;
END;
$$;
COMMENT ON FUNCTION jacksync.config_error(text, text, text, text, text) IS
'refuses a row of a configuration table (internal)';

/*
 * A dump restores the rows of our tables before the primary keys and triggers
 * of the tables that they name, and brings the rows that our own triggers
 * would make.  Scripts of pg_dump and pg_restore have both settings off.
 */
CREATE FUNCTION jacksync.is_restore() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT current_setting('check_function_bodies')::boolean = false
		AND current_setting('row_security')::boolean = false
$$;
COMMENT ON FUNCTION jacksync.is_restore() IS
'whether this session restores a dump (internal)';

CREATE FUNCTION jacksync.check_one_of(tab text, col text, value text, allowed text[], detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value <> ALL (allowed) THEN
		PERFORM jacksync.config_error(tab, col, format('unknown value "%s"', left(value, 100)), detail,
			format('Valid values are: %s.', array_to_string(allowed, ', ')));
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_one_of(text, text, text, text[], text) IS
'refuses a value that is not in a list (internal)';

CREATE FUNCTION jacksync.check_nearest(word text, words text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	-- by the pairs of letters that both have, as a share of all
	SELECT w
	FROM unnest(words) WITH ORDINALITY AS u (w, i)
		CROSS JOIN LATERAL (
			SELECT count(*) AS common
			FROM (SELECT substr(lower(word), k, 2) FROM generate_series(1, least(length(word), 100) - 1) AS k
				INTERSECT ALL
				SELECT substr(w, k, 2) FROM generate_series(1, length(w) - 1) AS k) AS pair) AS c
	WHERE 2 * c.common >= greatest(length(w), length(word), 3) - 1
		-- letters that changed places
		OR (length(w) = length(word) AND (SELECT string_agg(l, '' ORDER BY l) FROM string_to_table(w, NULL) AS l)
			= (SELECT string_agg(l, '' ORDER BY l) FROM string_to_table(lower(word), NULL) AS l))
	ORDER BY c.common::numeric / greatest(length(w), length(word)) DESC, i
	LIMIT 1
$$;
COMMENT ON FUNCTION jacksync.check_nearest(text, text[]) IS
'the word of a list that somebody may have meant; NULL: none is like it (internal)';

CREATE FUNCTION jacksync.check_members(tab text, col text, place text, value jsonb, allowed text[], detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	member text;
BEGIN
	IF jsonb_typeof(value) <> 'object' THEN
		PERFORM jacksync.config_error(tab, col,
			format('%s is %s, not an object', place, left(value::text, 100)), detail,
			format('Write an object with members of: %s.', array_to_string(allowed, ', ')));
	END IF;
	FOR member IN
		SELECT k FROM jsonb_object_keys(value) AS k WHERE k <> ALL (allowed) ORDER BY k COLLATE "C" LIMIT 1
	LOOP
		PERFORM jacksync.config_error(tab, col,
			format('unknown member "%s" in %s', left(member, 100), place), detail,
			coalesce('Perhaps you mean "' || jacksync.check_nearest(member, allowed) || '". ', '')
			|| format('Valid members are: %s.', array_to_string(allowed, ', ')));
	END LOOP;
END;
$$;
COMMENT ON FUNCTION jacksync.check_members(text, text, text, jsonb, text[], text) IS
'refuses what is no object, and members that are not in a list (internal)';

CREATE FUNCTION jacksync.check_type(tab text, col text, place text, value jsonb, allowed text[], detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value IS NOT NULL AND jsonb_typeof(value) <> ALL (allowed) THEN
		PERFORM jacksync.config_error(tab, col,
			format('%s is %s', place, left(value::text, 100)), detail,
			format('It must be of JSON type %s.', array_to_string(allowed, ' or ')));
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_type(text, text, text, jsonb, text[], text) IS
'refuses a JSON value of the wrong type (internal)';

CREATE FUNCTION jacksync.check_jsonpath(tab text, col text, place text, value jsonb, detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value IS NULL THEN
		RETURN;
	END IF;
	PERFORM jacksync.check_type(tab, col, place, value, '{string}', detail);
	BEGIN
		PERFORM (value #>> '{}')::jsonpath;
	EXCEPTION WHEN syntax_error OR invalid_text_representation OR data_exception THEN
		PERFORM jacksync.config_error(tab, col,
			format('%s is "%s", which is no valid jsonpath', place, left(value #>> '{}', 100)), detail,
			'Write a jsonpath of PostgreSQL, such as "$.guest.name" or "$.items[*]".');
	END;
END;
$$;
COMMENT ON FUNCTION jacksync.check_jsonpath(text, text, text, jsonb, text) IS
'refuses what is no jsonpath (internal)';

CREATE FUNCTION jacksync.check_server(tab text, col text, server name, detail text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	srv oid;
	wrapper name;
	known text;
BEGIN
	SELECT s.oid, w.fdwname INTO srv, wrapper
	FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
	WHERE s.srvname = server;

	IF srv IS NULL OR wrapper <> 'jacksync' THEN
		SELECT string_agg(quote_ident(s.srvname), ', ' ORDER BY s.srvname) INTO known
		FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
		WHERE w.fdwname = 'jacksync';
		PERFORM jacksync.config_error(tab, col,
			CASE WHEN srv IS NULL THEN format('server "%s" does not exist', server)
				ELSE format('server "%s" has the foreign data wrapper "%s"', server, wrapper) END,
			detail,
			coalesce('Servers of jacksync are: ' || known || '.',
				format('Create it with CREATE SERVER %s FOREIGN DATA WRAPPER jacksync OPTIONS (base_url ''https://...'').',
					quote_ident(server))));
	END IF;
	IF NOT has_server_privilege(srv, 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('permission denied for foreign server %s', server),
			HINT = format('Let its owner GRANT USAGE ON FOREIGN SERVER %s TO %s.',
				quote_ident(server), quote_ident(current_user));
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_server(text, text, name, text) IS
'refuses what is no foreign server of jacksync, or not usable by the role (internal)';

CREATE FUNCTION jacksync.column_list(rel regclass) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
	FROM pg_attribute
	WHERE attrelid = rel AND attnum > 0 AND NOT attisdropped
$$;
COMMENT ON FUNCTION jacksync.column_list(regclass) IS 'the columns of a table, for hints (internal)';

CREATE FUNCTION jacksync.base_type(type oid) RETURNS oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE t (type, base) AS (
		SELECT oid, typbasetype FROM pg_type WHERE oid = base_type.type
		UNION ALL
		SELECT p.oid, p.typbasetype FROM t JOIN pg_type p ON p.oid = t.base
	)
	SELECT type FROM t WHERE base = 0
$$;
COMMENT ON FUNCTION jacksync.base_type(oid) IS 'the type below all domains (internal)';

-- ---------------------------------------------------------------------------
-- authority
-- ---------------------------------------------------------------------------

/*
 * The checks of a rule that need the table: when the rule is written, or when
 * its entity is bound after it.
 */
CREATE FUNCTION jacksync.check_rule(rule jacksync.authority, rel regclass, external_id_column name, property_column name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	col name := coalesce(rule.column_name, jacksync.snake_case(rule.field));
	what text := CASE WHEN rule.column_name IS NULL THEN 'field' ELSE 'column_name' END;
	detail text := format('Rule for field "%s" of entity "%s".', rule.field, rule.entity);
	att pg_attribute;
	base oid;
BEGIN
	IF rule.field = '*' THEN
		RETURN;
	END IF;

	SELECT * INTO att FROM pg_attribute
	WHERE attrelid = rel AND attname = col AND attnum > 0 AND NOT attisdropped;
	IF NOT FOUND THEN
		PERFORM jacksync.config_error('authority', what,
			format('column "%s" of table %s does not exist', col, rel), detail,
			format('Columns of the table are: %s. If the column is not called like the field, name it in column_name.',
				jacksync.column_list(rel)));
	END IF;
	IF col = external_id_column THEN
		PERFORM jacksync.config_error('authority', what,
			format('column "%s" holds the external id', col), detail,
			'The id of a record is no field that one side wins; remove the rule.');
	END IF;
	IF col = property_column THEN
		PERFORM jacksync.config_error('authority', what,
			format('column "%s" tells the servers apart', col), detail,
			'Its value comes from property_value of the stream; remove the rule.');
	END IF;
	IF att.attgenerated <> '' OR att.attidentity = 'a' THEN
		PERFORM jacksync.config_error('authority', what,
			format('column "%s" is generated', col), detail,
			'Nothing can be written to a generated column; name the columns that it is computed from.');
	END IF;
	IF rule.strategy = 'merge' THEN
		base := jacksync.base_type(att.atttypid);
		IF NOT EXISTS (
			SELECT FROM pg_type t
			WHERE t.oid = base
				AND (t.oid IN ('jsonb'::regtype, 'text'::regtype, 'varchar'::regtype)
					OR (t.typelem <> 0 AND t.typsubscript = 'array_subscript_handler'::regproc)
					OR t.typname = 'citext'))
		THEN
			PERFORM jacksync.config_error('authority', 'strategy',
				format('column "%s" of type %s cannot be merged', col, format_type(att.atttypid, att.atttypmod)), detail,
				'The strategy merge is for arrays, jsonb and text; use pms_wins, local_wins, latest_wins or manual.');
		END IF;
	END IF;
END;
$$;
COMMENT ON FUNCTION jacksync.check_rule(jacksync.authority, regclass, name, name) IS
'checks a rule against the table of its entity (internal)';

CREATE FUNCTION jacksync.authority_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ent jacksync.entity;
	detail text := format('Rule for field "%s" of entity "%s".', NEW.field, NEW.entity);
BEGIN
	IF NEW.entity IS NULL OR NEW.field IS NULL OR NEW.strategy IS NULL THEN
		RETURN NEW;		-- the table's own constraints say it
	END IF;
	IF NEW.entity = '' OR length(NEW.entity) > 63 OR NEW.entity ~ '[[:cntrl:]]' THEN
		PERFORM jacksync.config_error('authority', 'entity', format('bad name "%s"', left(NEW.entity, 100)), detail,
			'Write the name of an entity, such as reservations.');
	END IF;
	IF NEW.field = '' OR length(NEW.field) > 200 OR NEW.field ~ '[[:cntrl:]]'
		OR (NEW.field ~ '\*' AND NEW.field <> '*')
	THEN
		PERFORM jacksync.config_error('authority', 'field', format('bad name "%s"', left(NEW.field, 100)), detail,
			'Write the name of one field, such as guestName, or * for all fields without a rule of their own.');
	END IF;
	IF NEW.field = '*' THEN
		IF NEW.column_name IS NOT NULL THEN
			PERFORM jacksync.config_error('authority', 'column_name',
				format('"%s" given for all fields', NEW.column_name), detail,
				'Leave column_name NULL in the rule for *, or name one field.');
		END IF;
		IF NEW.field_group IS NOT NULL THEN
			PERFORM jacksync.config_error('authority', 'field_group',
				format('"%s" given for all fields', NEW.field_group), detail,
				'Leave field_group NULL in the rule for *, or name the fields of the group.');
		END IF;
		IF NEW.strategy = 'merge' THEN
			PERFORM jacksync.config_error('authority', 'strategy',
				'"merge" given for all fields', detail,
				'The strategy merge is for arrays, jsonb and text; name the fields that are to be merged.');
		END IF;
	END IF;
	IF NEW.field_group = '' THEN
		PERFORM jacksync.config_error('authority', 'field_group', 'empty name', detail,
			'Write the name of the group, or NULL for a field that is resolved alone.');
	END IF;
	IF NEW.field_group IS NOT NULL AND NEW.strategy = 'merge' THEN
		PERFORM jacksync.config_error('authority', 'field_group',
			format('group "%s" with the strategy merge', NEW.field_group), detail,
			'A group is won by one side as a whole: use pms_wins, local_wins, latest_wins or manual.');
	END IF;
	IF NEW.unless_blank AND NEW.strategy NOT IN ('pms_wins', 'local_wins', 'latest_wins') THEN
		PERFORM jacksync.config_error('authority', 'unless_blank',
			format('true with the strategy %s', NEW.strategy), detail,
			'Only pms_wins, local_wins and latest_wins have a winning side whose blank value can lose.');
	END IF;

	SELECT * INTO ent FROM jacksync.entity e WHERE e.entity = NEW.entity;
	IF FOUND AND NOT jacksync.is_restore() THEN
		PERFORM jacksync.check_rule(NEW, ent.local_table, ent.external_id_column, ent.property_column);
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.authority_check() IS 'checks a rule (trigger)';
CREATE TRIGGER authority_check
	BEFORE INSERT OR UPDATE ON jacksync.authority
	FOR EACH ROW EXECUTE FUNCTION jacksync.authority_check();
COMMENT ON TRIGGER authority_check ON jacksync.authority IS 'checks a rule';

/*
 * What concerns several rules is looked at when the statement is done, so that
 * one UPDATE may change a whole group.
 */
CREATE FUNCTION jacksync.authority_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	other record;
	detail text := format('Rule for field "%s" of entity "%s".', NEW.field, NEW.entity);
BEGIN
	IF NEW.field_group IS NOT NULL THEN
		SELECT a.field, a.strategy INTO other
		FROM jacksync.authority a
		WHERE a.entity = NEW.entity AND a.field_group = NEW.field_group AND a.strategy <> NEW.strategy
		ORDER BY a.field LIMIT 1;
		IF FOUND THEN
			PERFORM jacksync.config_error('authority', 'strategy',
				format('"%s" in the group "%s", where field "%s" has "%s"',
					NEW.strategy, NEW.field_group, other.field, other.strategy), detail,
				'All fields of a group have the same strategy; change them in one UPDATE.');
		END IF;
	END IF;
	IF NEW.field <> '*' THEN
		SELECT a.field INTO other
		FROM jacksync.authority a
		WHERE a.entity = NEW.entity AND a.field NOT IN ('*', NEW.field)
			AND coalesce(a.column_name, jacksync.snake_case(a.field))
				= coalesce(NEW.column_name, jacksync.snake_case(NEW.field))
		ORDER BY a.field LIMIT 1;
		IF FOUND THEN
			PERFORM jacksync.config_error('authority', 'column_name',
				format('fields "%s" and "%s" both belong to column "%s"', NEW.field, other.field,
					coalesce(NEW.column_name, jacksync.snake_case(NEW.field))), detail,
				'Each column belongs to one field; give one of them another column_name.');
		END IF;
		IF NOT jacksync.is_restore() THEN
			INSERT INTO jacksync.field (entity_id, field)
			SELECT e.entity_id, NEW.field FROM jacksync.entity e WHERE e.entity = NEW.entity
			ON CONFLICT DO NOTHING;
		END IF;
	END IF;
	RETURN NULL;
END;
$$;
COMMENT ON FUNCTION jacksync.authority_changed() IS 'checks a rule against the others and notes its field (trigger)';
CREATE TRIGGER authority_changed
	AFTER INSERT OR UPDATE ON jacksync.authority
	FOR EACH ROW EXECUTE FUNCTION jacksync.authority_changed();
COMMENT ON TRIGGER authority_changed ON jacksync.authority IS 'checks a rule against the others and notes its field';

-- ---------------------------------------------------------------------------
-- entity
-- ---------------------------------------------------------------------------

CREATE FUNCTION jacksync.entity_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Entity "%s".', NEW.entity);
	rel pg_class;
	schema name;
	owner pg_roles;
	rule jacksync.authority;
	col name;
	pair record;
BEGIN
	IF NEW.entity IS NULL OR NEW.local_table IS NULL OR NEW.external_id_column IS NULL OR NEW.delete_guard IS NULL THEN
		RETURN NEW;		-- the table's own constraints say it
	END IF;
	IF NEW.entity = '' OR length(NEW.entity) > 63 OR NEW.entity ~ '[[:cntrl:].*]' THEN
		PERFORM jacksync.config_error('entity', 'entity', format('bad name "%s"', left(NEW.entity, 100)), detail,
			'A name has 1 to 63 characters and neither . nor *, for instance reservations.');
	END IF;
	PERFORM jacksync.check_one_of('entity', 'on_local_edit', NEW.on_local_edit, '{revert,keep,warn,reject}', detail);
	PERFORM jacksync.check_one_of('entity', 'on_pms_delete', NEW.on_pms_delete, '{keep,delete,mark}', detail);
	PERFORM jacksync.check_one_of('entity', 'on_local_delete', NEW.on_local_delete, '{restore,push,ignore}', detail);

	PERFORM jacksync.check_members('entity', 'delete_guard', 'the value', NEW.delete_guard, '{count,percent}', detail);
	FOR pair IN SELECT key, value FROM jsonb_each(NEW.delete_guard) LOOP
		IF jsonb_typeof(pair.value) <> 'number' THEN
			PERFORM jacksync.config_error('entity', 'delete_guard',
				format('"%s" is %s', pair.key, left(pair.value::text, 100)), detail,
				'Write numbers, such as {"count": 20, "percent": 2}.');
		ELSIF pair.value::numeric < 0 OR (pair.key = 'percent' AND pair.value::numeric > 100) THEN
			PERFORM jacksync.config_error('entity', 'delete_guard',
				format('"%s" is %s', pair.key, left(pair.value::text, 100)), detail,
				'The count is not negative and the percentage is between 0 and 100.');
		END IF;
	END LOOP;

	SELECT * INTO rel FROM pg_class c WHERE c.oid = NEW.local_table;
	IF NOT FOUND THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('table with OID %s does not exist', NEW.local_table::oid), detail,
			'Name an existing table.');
	END IF;
	SELECT n.nspname INTO schema FROM pg_namespace n WHERE n.oid = rel.relnamespace;
	SELECT * INTO owner FROM pg_roles r WHERE r.oid = rel.relowner;

	IF rel.relkind NOT IN ('r', 'p') THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('%s is no table but %s', NEW.local_table,
				CASE rel.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view'
					WHEN 'f' THEN 'a foreign table' WHEN 'i' THEN 'an index' WHEN 'S' THEN 'a sequence'
					ELSE 'another kind of relation' END), detail,
			'Name a plain or partitioned table.');
	END IF;
	IF rel.relpersistence = 't' THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('%s is a temporary table', NEW.local_table), detail,
			'Name a permanent or unlogged table; other sessions must be able to write it.');
	END IF;
	IF schema IN ('pg_catalog', 'information_schema', 'jacksync', 'pg_toast') THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('%s is in the schema %s', NEW.local_table, schema), detail,
			'Name a table of yours.');
	END IF;
	SELECT e.entity, e.local_table INTO pair
	FROM jacksync.entity e
	WHERE e.entity <> NEW.entity AND e.local_table <> NEW.local_table
		AND (e.local_table IN (SELECT p.relid FROM pg_partition_ancestors(NEW.local_table) p)
			OR NEW.local_table IN (SELECT p.relid FROM pg_partition_ancestors(e.local_table) p));
	IF FOUND THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('%s and %s, which entity "%s" binds, are partitions of one another', NEW.local_table,
				pair.local_table, pair.entity), detail,
			'A row belongs to one entity: bind the partitioned table only.');
	END IF;
	/* the worker writes as the owner: nobody may lend himself that */
	IF NOT pg_has_role(rel.relowner, 'USAGE') THEN
		RAISE EXCEPTION USING
			ERRCODE = 'insufficient_privilege',
			MESSAGE = format('must be owner of table %s', NEW.local_table),
			HINT = format('Only a member of its owner %s can bind the table to an entity.', quote_ident(owner.rolname));
	END IF;
	IF NOT jacksync.is_restore() AND NOT EXISTS (
		SELECT FROM pg_index i WHERE i.indrelid = NEW.local_table AND i.indisprimary AND i.indimmediate)
	THEN
		IF EXISTS (SELECT FROM pg_index i WHERE i.indrelid = NEW.local_table AND i.indisprimary) THEN
			PERFORM jacksync.config_error('entity', 'local_table',
				format('the primary key of %s is deferrable', NEW.local_table), detail,
				'Make the primary key NOT DEFERRABLE.');
		ELSE
			PERFORM jacksync.config_error('entity', 'local_table',
				format('%s has no primary key', NEW.local_table), detail,
				format('Add one with ALTER TABLE %s ADD PRIMARY KEY (...).', NEW.local_table));
		END IF;
	END IF;
	IF rel.relrowsecurity AND rel.relforcerowsecurity AND NOT (owner.rolsuper OR owner.rolbypassrls) THEN
		PERFORM jacksync.config_error('entity', 'local_table',
			format('%s forces row level security upon its owner', NEW.local_table), detail,
			format('The owner must see all rows to keep them in sync: ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, or ALTER ROLE %s BYPASSRLS.',
				NEW.local_table, quote_ident(owner.rolname)));
	END IF;

	FOR pair IN
		SELECT v.col, v.value
		FROM (VALUES (1, 'external_id_column', NEW.external_id_column),
				(2, 'property_column', NEW.property_column),
				(3, 'urgency_column', NEW.urgency_column), (4, 'deleted_column', NEW.deleted_column)) AS v (i, col, value)
		WHERE v.value IS NOT NULL
			AND NOT EXISTS (
				SELECT FROM pg_attribute a
				WHERE a.attrelid = NEW.local_table AND a.attname = v.value AND a.attnum > 0 AND NOT a.attisdropped)
		ORDER BY v.i
	LOOP
		PERFORM jacksync.config_error('entity', pair.col,
			format('column "%s" of table %s does not exist', pair.value, NEW.local_table), detail,
			format('Columns of the table are: %s.', jacksync.column_list(NEW.local_table)));
	END LOOP;
	SELECT a.attname INTO col FROM pg_attribute a
	WHERE a.attrelid = NEW.local_table AND a.attname = NEW.external_id_column
		AND (a.attgenerated <> '' OR a.attidentity = 'a');
	IF FOUND THEN
		PERFORM jacksync.config_error('entity', 'external_id_column',
			format('column "%s" is generated', col), detail,
			'Name a column that can be written, NULL where the PMS does not know the row yet.');
	END IF;
	SELECT format_type(a.atttypid, NULL) INTO col FROM pg_attribute a
	WHERE a.attrelid = NEW.local_table AND a.attname = NEW.deleted_column
		AND a.atttypid NOT IN ('boolean'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype);
	IF FOUND THEN
		PERFORM jacksync.config_error('entity', 'deleted_column',
			format('column "%s" has the type %s', NEW.deleted_column, col), detail,
			'Name a boolean column, or a time that is NULL while the record is there.');
	END IF;
	IF NEW.property_column = NEW.external_id_column THEN
		PERFORM jacksync.config_error('entity', 'property_column',
			format('column "%s" holds the external id', NEW.property_column), detail,
			'Name another column, or NULL with one server only.');
	END IF;

	/* rules may have been loaded before their entity was bound */
	IF NOT jacksync.is_restore() THEN
		FOR rule IN SELECT * FROM jacksync.authority a WHERE a.entity = NEW.entity ORDER BY a.field LOOP
			PERFORM jacksync.check_rule(rule, NEW.local_table, NEW.external_id_column, NEW.property_column);
		END LOOP;
		-- and guards (the function comes with them, in 50_freshness.sql)
		PERFORM jacksync.check_guard(g, NEW.local_table) FROM jacksync.operation_guard g WHERE g.entity = NEW.entity;
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.entity_check() IS 'checks an entity and its rules (trigger)';
CREATE TRIGGER entity_check
	BEFORE INSERT OR UPDATE ON jacksync.entity
	FOR EACH ROW EXECUTE FUNCTION jacksync.entity_check();
COMMENT ON TRIGGER entity_check ON jacksync.entity IS 'checks an entity and its rules';

CREATE FUNCTION jacksync.entity_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM jacksync.field f WHERE f.entity_id = OLD.entity_id;
	ELSIF NOT jacksync.is_restore() THEN
		INSERT INTO jacksync.field (entity_id, field)
		SELECT NEW.entity_id, a.field FROM jacksync.authority a
		WHERE a.entity = NEW.entity AND a.field <> '*'
		ON CONFLICT DO NOTHING;
	END IF;
	RETURN NULL;
END;
$$;
COMMENT ON FUNCTION jacksync.entity_changed() IS 'notes the fields that the rules of an entity name (trigger)';
CREATE TRIGGER entity_fields
	AFTER INSERT OR UPDATE OF entity OR DELETE ON jacksync.entity
	FOR EACH ROW EXECUTE FUNCTION jacksync.entity_changed();
COMMENT ON TRIGGER entity_fields ON jacksync.entity IS 'notes the fields that the rules of an entity name';

