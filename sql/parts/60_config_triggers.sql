/*
 * Every session and worker learns of a change of the configuration at its
 * commit.
 */
DO $$
DECLARE
	tab	name;
BEGIN
	FOREACH tab IN ARRAY '{entity,authority,stream,field,stale_policy,alert_threshold,alert_channel,operation_guard}'::name[]
	LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.%I
			FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed()',
			tab OPERATOR(pg_catalog.||) '_invalidate', tab);
	END LOOP;
END
$$;
