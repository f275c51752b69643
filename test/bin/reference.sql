/*
 * doc/reference.md, out of the catalog: every object with its comment.
 * Run by test/bin/reference.sh.
 */
\set QUIET on
\pset format unaligned
\pset tuples_only on
SET search_path = pg_catalog;
LOAD 'jacksync';

SELECT E'# Reference\n\nMade by `make reference` out of the comments in the catalog, and checked by `make check`; what a row\nmeans is said at more length in the README.';

CREATE TEMPORARY VIEW functions AS
SELECT p.oid, p.proname, p.prokind, l.lanname,
	p.prorettype = 'trigger'::regtype AS is_trigger,
	format('%s(%s)', p.proname, pg_get_function_arguments(p.oid))
		|| CASE p.prokind WHEN 'p' THEN '' ELSE ' → ' || pg_get_function_result(p.oid) END AS signature,
	obj_description(p.oid, 'pg_proc') AS words
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace = 'jacksync'::regnamespace;

-- who may what, from what grant_access() gives
CREATE ROLE reference_reader;
CREATE ROLE reference_operator;
CREATE ROLE reference_admin;
SELECT jacksync.grant_access('reference_reader', 'reader'), jacksync.grant_access('reference_operator', 'operator'),
	jacksync.grant_access('reference_admin', 'admin') \g /dev/null

CREATE FUNCTION pg_temp.level_of(f oid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN has_function_privilege('reference_reader', f, 'EXECUTE') THEN 'reader'
		WHEN has_function_privilege('reference_operator', f, 'EXECUTE') THEN 'operator'
		WHEN has_function_privilege('reference_admin', f, 'EXECUTE') THEN 'admin' ELSE 'owner' END
$$;
CREATE FUNCTION pg_temp.level_of_table(t oid) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN has_table_privilege('reference_reader', t, 'SELECT') THEN 'reader'
		WHEN has_table_privilege('reference_operator', t, 'SELECT') THEN 'operator'
		WHEN has_table_privilege('reference_admin', t, 'SELECT') THEN 'admin' ELSE 'owner' END
	|| CASE WHEN has_table_privilege('reference_admin', t, 'INSERT') THEN ', written by admin' ELSE '' END
$$;
CREATE FUNCTION pg_temp.escape(t text) RETURNS text LANGUAGE sql AS $$
	SELECT replace(replace(coalesce(t, ''), E'\n', ' '), '|', '\|')
$$;

SELECT E'\n## Functions and procedures\n\nWho may call them is what `grant_access(role, level)` gives.\n\n| function | for | what it does |\n|---|---|---|\n'
	|| string_agg(format('| %s`%s` | %s | %s |', CASE f.prokind WHEN 'p' THEN 'CALL ' ELSE '' END,
		pg_temp.escape(f.signature), pg_temp.level_of(f.oid), pg_temp.escape(f.words)), E'\n' ORDER BY f.proname COLLATE "C", f.signature COLLATE "C")
FROM functions f WHERE NOT f.is_trigger AND f.words !~ '\(internal\)';

SELECT E'\n## Views\n'
	|| string_agg(format(E'\n### `jacksync.%s`\n\n%s (%s)\n\nColumns: %s', c.relname, obj_description(c.oid, 'pg_class'), pg_temp.level_of_table(c.oid),
		(SELECT string_agg(format('`%s` %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
				coalesce(' (' || col_description(c.oid, a.attnum) || ')', '')), ', ' ORDER BY a.attnum)
			FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)), E'\n' ORDER BY c.relname COLLATE "C")
FROM pg_class c WHERE c.relnamespace = 'jacksync'::regnamespace AND c.relkind = 'v';

SELECT E'\n## Tables\n'
	|| string_agg(format(E'\n### `jacksync.%s`\n\n%s (%s)\n\n| column | type, default | meaning |\n|---|---|---|\n%s', c.relname,
		obj_description(c.oid, 'pg_class'), pg_temp.level_of_table(c.oid),
		(SELECT string_agg(format('| `%s` | %s%s | %s |', a.attname, format_type(a.atttypid, a.atttypmod),
				pg_temp.escape(coalesce(', ' || pg_get_expr(d.adbin, d.adrelid), '')), pg_temp.escape(col_description(c.oid, a.attnum))), E'\n' ORDER BY a.attnum)
			FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
			WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)), E'\n' ORDER BY c.relname COLLATE "C")
FROM pg_class c WHERE c.relnamespace = 'jacksync'::regnamespace AND c.relkind = 'r';

SELECT E'\n## Types\n\n| type | what it is |\n|---|---|\n'
	|| string_agg(format('| `jacksync.%s` %s | %s |', t.typname,
		CASE t.typtype WHEN 'e' THEN (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
			ELSE (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
				FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0) END,
		pg_temp.escape(obj_description(t.oid, 'pg_type'))), E'\n' ORDER BY t.typname COLLATE "C")
FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'jacksync'::regnamespace AND (t.typtype = 'e' OR (t.typtype = 'c' AND c.relkind = 'c'));

SELECT E'\n## Settings\n\n| setting | default | where it is set | meaning |\n|---|---|---|---|\n'
	|| string_agg(format('| `%s` | `%s%s` | %s | %s%s |', s.name, s.boot_val, s.unit,
		CASE s.context WHEN 'sighup' THEN 'configuration file, reload' WHEN 'postmaster' THEN 'configuration file, restart'
			WHEN 'superuser' THEN 'by superusers' ELSE 'anywhere' END,
		pg_temp.escape(s.short_desc), coalesce(' ' || pg_temp.escape(s.extra_desc), '')), E'\n' ORDER BY s.name COLLATE "C")
FROM pg_settings s WHERE s.name LIKE 'jacksync.%' AND s.category NOT LIKE 'Developer%';

-- what is internal, so that \df shows nothing that nobody knows of
SELECT E'\n## Internal\n\nTriggers and helpers; nobody calls them.\n\n| function | what it does |\n|---|---|\n'
	|| string_agg(format('| `%s` | %s |', pg_temp.escape(f.signature), pg_temp.escape(f.words)), E'\n' ORDER BY f.proname COLLATE "C", f.signature COLLATE "C")
FROM functions f WHERE f.is_trigger OR f.words ~ '\(internal\)';
DROP OWNED BY reference_reader, reference_operator, reference_admin;
DROP ROLE reference_reader, reference_operator, reference_admin;
