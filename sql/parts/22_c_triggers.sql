CREATE FUNCTION jacksync.config_changed()
RETURNS trigger
AS 'MODULE_PATHNAME', 'jacksync_config_changed'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.config_changed() IS
'trigger: tells every session and worker that the configuration changed';

CREATE FUNCTION jacksync.capture()
RETURNS trigger
AS 'MODULE_PATHNAME', 'jacksync_capture'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.capture() IS
'row trigger of bound tables: appends changes to jacksync.change';

CREATE FUNCTION jacksync.refuse_truncate()
RETURNS trigger
AS 'MODULE_PATHNAME', 'jacksync_refuse_truncate'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.refuse_truncate() IS
'trigger of bound tables: TRUNCATE would go unnoticed, so it is refused';

CREATE FUNCTION jacksync.validator(text[], oid)
RETURNS void
AS 'MODULE_PATHNAME', 'jacksync_validator'
LANGUAGE C STRICT;
COMMENT ON FUNCTION jacksync.validator(text[], oid) IS
'checks the options of servers and user mappings (internal)';

CREATE FOREIGN DATA WRAPPER jacksync
	NO HANDLER
	VALIDATOR jacksync.validator;
COMMENT ON FOREIGN DATA WRAPPER jacksync IS
'connections to a PMS, a mail relay or a webhook; there are no foreign tables';
