--
-- Who may do what: the golden list of grants, and the rules that every object
-- of the extension keeps.  A line here that changes is a decision about
-- security, never a detail.
--
\pset format unaligned
\pset footer off
CREATE ROLE priv_reader;
CREATE ROLE priv_operator;
CREATE ROLE priv_admin;
CREATE ROLE priv_nobody;
SELECT jacksync.grant_access('priv_reader', 'reader'),
	jacksync.grant_access('priv_operator', 'operator'),
	jacksync.grant_access('priv_admin', 'admin');
SELECT jacksync.grant_access('-', 'reader');

-- everything that belongs to the extension, with its ACL
CREATE TEMP TABLE object AS
SELECT d.classid, d.objid, i.type AS kind, i.identity AS name, x.acl
FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i,
	LATERAL (SELECT CASE d.classid
		WHEN 'pg_class'::regclass THEN (SELECT coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM pg_class WHERE oid = d.objid)
		WHEN 'pg_proc'::regclass THEN (SELECT coalesce(proacl, acldefault('f', proowner)) FROM pg_proc WHERE oid = d.objid)
		WHEN 'pg_foreign_data_wrapper'::regclass THEN (SELECT coalesce(fdwacl, acldefault('F', fdwowner)) FROM pg_foreign_data_wrapper WHERE oid = d.objid)
		WHEN 'pg_type'::regclass THEN (SELECT coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE oid = d.objid)
		END AS acl) x
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jacksync');
-- views and tables have a row type each: not objects of their own
DELETE FROM object o USING pg_type t WHERE o.classid = 'pg_type'::regclass AND t.oid = o.objid
	AND (t.typrelid IN (SELECT oid FROM pg_class WHERE relkind <> 'c') OR t.typelem IN (SELECT oid FROM pg_type WHERE typarray = t.oid));

CREATE TEMP VIEW granted AS
SELECT o.kind, o.name, coalesce(r.rolname, 'PUBLIC') AS grantee,
	string_agg(a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END, ',' ORDER BY a.privilege_type) AS privileges
FROM object o, LATERAL aclexplode(o.acl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee <> (SELECT extowner FROM pg_extension WHERE extname = 'jacksync')
GROUP BY 1, 2, 3;

-- PUBLIC: the names of types, and nothing else
SELECT kind, name, privileges FROM granted WHERE grantee = 'PUBLIC' AND kind <> 'type' AND kind <> 'composite type' ORDER BY 1, 2;
SELECT has_schema_privilege('priv_nobody', 'jacksync', 'USAGE') AS nobody_schema,
	has_foreign_data_wrapper_privilege('priv_nobody', 'jacksync', 'USAGE') AS nobody_wrapper,
	has_foreign_data_wrapper_privilege('priv_admin', 'jacksync', 'USAGE') AS admin_wrapper,
	has_schema_privilege('priv_admin', 'jacksync', 'CREATE') AS admin_create;
SELECT count(*) AS functions_of_nobody FROM object
WHERE classid = 'pg_proc'::regclass AND has_function_privilege('priv_nobody', objid, 'EXECUTE');

-- the roles of grant_access(): each has what the one before it has, and
SELECT kind, name, privileges FROM granted WHERE grantee = 'priv_reader' ORDER BY 1, 2;
SELECT kind, name, privileges FROM granted WHERE grantee = 'priv_operator'
EXCEPT SELECT kind, name, privileges FROM granted WHERE grantee = 'priv_reader' ORDER BY 1, 2;
SELECT kind, name, privileges FROM granted WHERE grantee = 'priv_admin' AND name !~ '^jacksync\.(check|document)_'
EXCEPT SELECT kind, name, privileges FROM granted WHERE grantee = 'priv_operator' ORDER BY 1, 2;
SELECT kind, name FROM granted WHERE grantee = 'priv_reader'
EXCEPT SELECT kind, name FROM granted WHERE grantee = 'priv_operator' ORDER BY 1, 2;
SELECT kind, name FROM granted WHERE grantee = 'priv_operator'
EXCEPT SELECT kind, name FROM granted WHERE grantee = 'priv_admin' ORDER BY 1, 2;
SELECT grantee, kind, name FROM granted WHERE grantee NOT IN ('priv_reader', 'priv_operator', 'priv_admin', 'PUBLIC');

-- tokens, the log of changes and the state of records are nobody's
SELECT grantee, name FROM granted WHERE name IN ('jacksync.token', 'jacksync.change', 'jacksync.link', 'jacksync.intent',
	'jacksync.installation', 'jacksync.stream_state', 'jacksync.worker');

-- and it can be taken back
SELECT jacksync.revoke_access('priv_reader'), jacksync.revoke_access('priv_operator');
SELECT count(*) AS left_over FROM object o, LATERAL aclexplode((SELECT CASE o.classid
		WHEN 'pg_class'::regclass THEN (SELECT relacl FROM pg_class WHERE oid = o.objid)
		WHEN 'pg_proc'::regclass THEN (SELECT proacl FROM pg_proc WHERE oid = o.objid) END)) a
WHERE a.grantee IN ('priv_reader'::regrole, 'priv_operator'::regrole);

--
-- What every function keeps: pinned search path for all that is not C, and
-- pg_temp last of it.  (Functions that are to be inlined name everything with
-- its schema: test/bin/spot.pl looks at their bodies.)
--
SELECT o.name AS unpinned FROM object o JOIN pg_proc p ON p.oid = o.objid JOIN pg_language l ON l.oid = p.prolang
WHERE o.classid = 'pg_proc'::regclass AND l.lanname <> 'c'
	AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^search_path=pg_catalog, (jacksync, )?pg_temp$')
ORDER BY 1;
SELECT o.name AS unpinned_security_definer FROM object o JOIN pg_proc p ON p.oid = o.objid
WHERE o.classid = 'pg_proc'::regclass AND p.prosecdef
	AND NOT EXISTS (SELECT FROM unnest(p.proconfig) c WHERE c ~ '^search_path=pg_catalog, (jacksync, )?pg_temp$');
-- who may call what runs as its definer
SELECT o.name AS security_definer_granted, string_agg(g.grantee::text, ', ' ORDER BY g.grantee) AS grantees
FROM object o JOIN pg_proc p ON p.oid = o.objid JOIN granted g ON g.name = o.name
WHERE o.classid = 'pg_proc'::regclass AND p.prosecdef GROUP BY 1 ORDER BY 1;
-- trigger functions are nobody's: a stranger cannot put them on his table
SELECT o.name AS trigger_function_granted FROM object o JOIN pg_proc p ON p.oid = o.objid JOIN granted g ON g.name = o.name
WHERE o.classid = 'pg_proc'::regclass AND p.prorettype = 'trigger'::regtype;

-- everything has a comment
SELECT o.kind, o.name FROM object o
WHERE o.kind NOT IN ('sequence', 'index', 'toast table') AND obj_description(o.objid, o.classid::regclass::text) IS NULL
ORDER BY 1, 2;
SELECT c.oid::regclass AS relation, a.attname FROM object o JOIN pg_class c ON c.oid = o.objid JOIN pg_attribute a ON a.attrelid = c.oid
WHERE o.classid = 'pg_class'::regclass AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
	AND col_description(c.oid, a.attnum) IS NULL ORDER BY 1, 2;
SELECT t.tgrelid::regclass AS relation, t.tgname FROM pg_trigger t JOIN object o ON o.objid = t.tgrelid AND o.classid = 'pg_class'::regclass
WHERE NOT t.tgisinternal AND obj_description(t.oid, 'pg_trigger') IS NULL ORDER BY 1, 2;

DROP OWNED BY priv_admin;
DROP ROLE priv_reader, priv_operator, priv_admin, priv_nobody;
