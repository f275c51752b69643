/*
 * Rights.  Nobody gets anything but by grant_access().
 */
REVOKE ALL ON ALL TABLES IN SCHEMA jacksync FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA jacksync FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA jacksync FROM PUBLIC;

CREATE FUNCTION jacksync.grant_access(role regrole, level text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	reader		constant text[] := '{check_freshness,require_fresh,freshness_headers,set_freshness_headers,
		age_text,changed_fields,merge,resolve,detect_conflict,preview,explain,diagnose,snake_case,camel_case,
		hotel_config,export_config,library_version}';
	operator	constant text[] := '{sync,sync_now,push,apply,pause,resume,resync,reconcile,resolve_conflict,
		resolve_conflicts,undo,requeue,discard,may_override,audit_override,wake_worker,start_worker}';
	admin		constant text[] := '{load_config,forget,adopt,config_error,check_one_of,check_members,check_type,
		check_jsonpath,check_server,check_rule,column_list,base_type,is_restore}';
	views		constant text[] := '{record,status,worker_status,stuck,sync_run,sync_error,manual_conflict,
		audit_log,alert,alert_delivery}';
	config		constant text[] := '{entity,authority,stream,stale_policy,alert_threshold,alert_channel,operation_guard}';
	wanted		text[];
	item		record;
BEGIN
	CASE level
		WHEN 'reader' THEN wanted := reader;
		WHEN 'operator' THEN wanted := reader || operator;
		WHEN 'admin' THEN wanted := reader || operator || admin;
		ELSE
			RAISE EXCEPTION 'unknown level "%"', level
				USING ERRCODE = 'invalid_parameter_value', HINT = 'Valid levels are reader, operator and admin.';
	END CASE;
	EXECUTE format('GRANT USAGE ON SCHEMA jacksync TO %s', role);
	FOR item IN
		SELECT p.oid::regprocedure AS routine FROM pg_proc p
		WHERE p.pronamespace = 'jacksync'::regnamespace AND p.proname = ANY (wanted)
	LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', item.routine, role);
	END LOOP;
	FOR item IN
		SELECT c.oid::regclass AS rel, c.relname = ANY (config) AS config FROM pg_class c
		WHERE c.relnamespace = 'jacksync'::regnamespace AND c.relname = ANY (views || config)
	LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', item.rel, role);
		IF item.config AND level = 'admin' THEN
			EXECUTE format('GRANT INSERT, UPDATE, DELETE ON %s TO %s', item.rel, role);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.grant_access(regrole, text) IS
'lets a role read (reader), operate (operator) or configure (admin)';
REVOKE ALL ON FUNCTION jacksync.grant_access(regrole, text) FROM PUBLIC;
