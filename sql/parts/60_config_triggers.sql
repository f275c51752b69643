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
