/*
 * Every session and worker learns of a change of the configuration at its
 * commit (the other tables: 28_alert_checks.sql).
 */
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.field
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.operation_guard
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
COMMENT ON TRIGGER config_changed ON jacksync.field IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.operation_guard IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER audit_log_append_only ON jacksync.audit_log IS 'nobody changes what was audited';
COMMENT ON TRIGGER worker_changed ON jacksync.worker IS 'tells every session which process is the worker';
