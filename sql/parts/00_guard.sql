/* jacksync: install script, assembled from sql/parts by make */

-- complain if this script is read by psql instead of by CREATE EXTENSION
\echo Use "CREATE EXTENSION jacksync" to load this file. \quit

/*
 * A schema that somebody made before us could hold operators and functions
 * that are found instead of ours, now or later.  Ours is empty and belongs to
 * a superuser, as CREATE EXTENSION or a restored dump make it.
 */
DO $$
DECLARE
	nsp	pg_catalog.pg_namespace;
BEGIN
	SELECT * INTO STRICT nsp FROM pg_catalog.pg_namespace n WHERE n.nspname OPERATOR(pg_catalog.=) 'jacksync';
	IF NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) nsp.nspowner)
		OR EXISTS (SELECT FROM pg_catalog.aclexplode(nsp.nspacl) a
			WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE' AND a.grantee OPERATOR(pg_catalog.<>) nsp.nspowner)
		OR EXISTS (SELECT FROM pg_catalog.pg_depend d
			WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
				AND d.refobjid OPERATOR(pg_catalog.=) nsp.oid
				AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass)
	THEN
		RAISE EXCEPTION 'schema "jacksync" exists already, and is not ours alone'
			USING ERRCODE = 'duplicate_schema',
				DETAIL = 'It belongs to a role that is no superuser, others may create objects in it, or it is not empty.',
				HINT = 'Look at what is in it, then DROP SCHEMA jacksync.';
	END IF;
END
$$;

COMMENT ON SCHEMA jacksync IS
'jacksync: two-way synchronisation of local tables with a Property Management System (PMS)';

REVOKE ALL ON SCHEMA jacksync FROM PUBLIC;
