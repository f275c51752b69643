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
		age_text,acting_role,audit_override,changed_fields,merge,resolve,detect_conflict,preview,apply_path,preview_rule,preview_rule_summary,explain,diagnose,snake_case,camel_case,
		hotel_config,library_version,stream_tier,progress_slots,worker_counters,live_next_due,holders,stream_obstacle,in_maintenance,dashboard_html,pre_request,help}';
	operator	constant text[] := '{sync,sync_now,push,apply,apply_cast,apply_page,pause,resume,resync,reconcile,resolve_conflict,
		resolve_conflicts,undo,requeue,discard,silence_alerts,test_channel,check_stream,release_deletes,reject_deletes,may_override,wake_worker,start_worker}';
	admin		constant text[] := '{load_config,export_config,preview_stream,forget,adopt,mend_triggers}';
	views		constant text[] := '{record,status,server_status,worker_status,stuck,stat,progress,open_conflict,held_delete,drift,sync_run,sync_error,manual_conflict,
		audit_log,alert,alert_delivery,alert_silence,detail,event}';
	config		constant text[] := '{entity,authority,stream,stale_policy,alert_threshold,alert_channel,operation_guard,maintenance_window}';
	-- the checks run with the rights of the role that writes the configuration
	checks		constant text := '^(check|document)_|^(config_error|column_list|base_type|is_restore|is_mail_address|channel_lacks)$';
	wanted		text[];
	item		record;
BEGIN
	IF role = 0 OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
		RAISE EXCEPTION 'role % does not exist', role
			USING ERRCODE = 'undefined_object', HINT = 'Access is granted to one role, never to PUBLIC.';
	END IF;
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
		WHERE p.pronamespace = 'jacksync'::regnamespace AND (p.proname = ANY (wanted) OR (level = 'admin' AND p.proname ~ checks))
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

CREATE FUNCTION jacksync.revoke_access(role regrole)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA jacksync FROM %s', role);
	EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA jacksync FROM %s', role);
	EXECUTE format('REVOKE ALL ON SCHEMA jacksync FROM %s', role);
END
$$;
COMMENT ON FUNCTION jacksync.revoke_access(regrole) IS
'takes back what grant_access() gave';
REVOKE ALL ON FUNCTION jacksync.revoke_access(regrole) FROM PUBLIC;
