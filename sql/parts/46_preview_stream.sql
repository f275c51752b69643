/*
 * For who connects a PMS.
 */
CREATE FUNCTION jacksync.preview_stream(entity text, server name DEFAULT NULL,
	OUT record_no integer, OUT external_id text, OUT updated_at timestamptz, OUT deleted boolean,
	OUT field text, OUT value jsonb, OUT note text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'jacksync_preview_stream'
LANGUAGE C;
COMMENT ON FUNCTION jacksync.preview_stream(text, name) IS
'asks the PMS for one page of a stream and shows the records and fields in it, and what does not fit; writes nothing. The request runs in your transaction: do not call it while you hold locks';
