/* where a dump goes on counting */
DO $$
DECLARE
	seq	pg_catalog.regclass;
BEGIN
	FOR seq IN
		SELECT c.oid FROM pg_catalog.pg_class c
		WHERE c.relnamespace OPERATOR(pg_catalog.=) 'jacksync'::pg_catalog.regnamespace
			AND c.relkind OPERATOR(pg_catalog.=) 'S'
	LOOP
		PERFORM pg_catalog.pg_extension_config_dump(seq, '');
	END LOOP;
END
$$;
