/*
 * What servers told by their answers: shared by all streams of a server, and
 * by all processes.  A server without a row works.
 */
CREATE TABLE jacksync.server_state
(
	server_oid		oid PRIMARY KEY,
	state			text NOT NULL
		CHECK (state IN ('failing', 'open', 'busy', 'refused', 'untrusted')),
	failures		integer NOT NULL DEFAULT 0,
	blocked_until	timestamptz,
	reason			text NOT NULL DEFAULT '',
	changed_at		timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	options			text NOT NULL DEFAULT ''
);
COMMENT ON TABLE jacksync.server_state IS
'servers that do not answer as they should; the others have no row';
COMMENT ON COLUMN jacksync.server_state.server_oid IS 'the foreign server';
COMMENT ON COLUMN jacksync.server_state.state IS
'failing: it did not answer lately; open: five times in a row, it is left alone and then probed; busy: it asked for a pause; refused: it does not accept our credentials; untrusted: its certificate is not accepted';
COMMENT ON COLUMN jacksync.server_state.failures IS 'requests in a row without a proper answer';
COMMENT ON COLUMN jacksync.server_state.blocked_until IS 'until then it is not asked';
COMMENT ON COLUMN jacksync.server_state.reason IS 'the last problem';
COMMENT ON COLUMN jacksync.server_state.changed_at IS 'since when';
COMMENT ON COLUMN jacksync.server_state.options IS 'which versions of server and user mappings it was learnt with';

CREATE FUNCTION jacksync.server_versions(server_oid oid)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(x.v, ' ' ORDER BY x.v) FROM (
		SELECT 's' || f.xmin FROM pg_foreign_server f WHERE f.oid = server_oid
		UNION ALL SELECT 'm' || m.oid || '.' || m.xmin FROM pg_user_mapping m WHERE m.umserver = server_oid) AS x (v)
$$;
COMMENT ON FUNCTION jacksync.server_versions(oid) IS 'changes with the options of a server and its user mappings (internal)';

CREATE FUNCTION jacksync.note_server_state(server_oid oid, server name, state text, failures integer,
	blocked_until timestamptz, reason text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF state = 'ok' THEN
		DELETE FROM jacksync.server_state s WHERE s.server_oid = note_server_state.server_oid;
	ELSE
		INSERT INTO jacksync.server_state AS s (server_oid, state, failures, blocked_until, reason, options)
			VALUES (server_oid, state, failures, blocked_until, jacksync.clean_text(reason),
				coalesce(jacksync.server_versions(server_oid), ''))
			ON CONFLICT ON CONSTRAINT server_state_pkey DO UPDATE
				SET options = excluded.options, state = excluded.state, failures = excluded.failures, blocked_until = excluded.blocked_until,
					reason = excluded.reason, changed_at = excluded.changed_at;
	END IF;
	IF state = 'refused' THEN
		PERFORM jacksync.alert_raise('credentials', 'critical', 'PMS Refuses Credentials',
			format('Server %s does not accept the credentials of its user mapping.', server),
			NULL, server, jsonb_build_object('error', jacksync.clean_text(reason)));
	ELSIF state = 'untrusted' THEN
		PERFORM jacksync.alert_raise('certificate', 'critical', 'PMS Certificate Not Accepted',
			format('The certificate of server %s is not accepted.', server),
			NULL, server, jsonb_build_object('error', jacksync.clean_text(reason)));
	ELSIF state = 'ok' THEN
		PERFORM jacksync.alert_resolve('credentials', NULL, server);
		PERFORM jacksync.alert_resolve('certificate', NULL, server);
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.note_server_state(oid, name, text, integer, timestamptz, text) IS
'records the state of a server and tells people (internal)';

CREATE VIEW jacksync.server_status AS
	SELECT f.srvname AS server, coalesce(s.state, 'ok') AS state, coalesce(s.failures, 0) AS failures,
		s.blocked_until, nullif(s.reason, '') AS reason, s.changed_at AS since,
		t.expires_at AS token_expires_at, t.last_error AS token_error, t.next_attempt_at AS next_token_at
	FROM pg_catalog.pg_foreign_server f
		JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = f.srvfdw AND w.fdwname = 'jacksync'
		LEFT JOIN jacksync.server_state s ON s.server_oid = f.oid
		LEFT JOIN LATERAL (
			SELECT max(t.expires_at) AS expires_at, max(t.last_error) AS last_error, max(t.next_attempt_at) AS next_attempt_at
			FROM jacksync.token t WHERE t.server_oid = f.oid) t ON true;
COMMENT ON VIEW jacksync.server_status IS 'servers: whether they answer, until when they are left alone, and their tokens';
COMMENT ON COLUMN jacksync.server_status.server IS 'name of the server';
COMMENT ON COLUMN jacksync.server_status.state IS 'ok, failing, open (left alone, then probed), busy, refused (credentials) or untrusted (certificate)';
COMMENT ON COLUMN jacksync.server_status.failures IS 'requests in a row without a proper answer';
COMMENT ON COLUMN jacksync.server_status.blocked_until IS 'until then it is not asked';
COMMENT ON COLUMN jacksync.server_status.reason IS 'the last problem';
COMMENT ON COLUMN jacksync.server_status.since IS 'since when it is so';
COMMENT ON COLUMN jacksync.server_status.token_expires_at IS 'end of the access token in use';
COMMENT ON COLUMN jacksync.server_status.token_error IS 'why there is none';
COMMENT ON COLUMN jacksync.server_status.next_token_at IS 'when the next try to get one is made';

/* sync_now() and the like: what was learnt of a server is to be found out anew. */
CREATE FUNCTION jacksync.forgive_server(server name)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	UPDATE jacksync.server_state s SET failures = 0, blocked_until = NULL FROM pg_foreign_server f
		WHERE f.oid = s.server_oid AND (forgive_server.server IS NULL OR f.srvname = forgive_server.server);
	UPDATE jacksync.token t SET next_attempt_at = NULL, failures = 0, refusals = 0
		FROM pg_foreign_server f
		WHERE f.oid = t.server_oid AND (forgive_server.server IS NULL OR f.srvname = forgive_server.server)
			AND (t.failures > 0 OR t.refusals > 0);
$$;
COMMENT ON FUNCTION jacksync.forgive_server(name) IS 'forgets that a server failed (internal)';

/* What was mended is tried at once, without anybody saying so (called by the worker). */
CREATE FUNCTION jacksync.forgive_changed_servers()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	changed	record;
BEGIN
	DELETE FROM jacksync.server_state s WHERE NOT EXISTS (SELECT FROM pg_foreign_server f WHERE f.oid = s.server_oid);
	DELETE FROM jacksync.token t WHERE NOT EXISTS (SELECT FROM pg_foreign_server f WHERE f.oid = t.server_oid);
	FOR changed IN
		SELECT f.srvname FROM jacksync.server_state s JOIN pg_foreign_server f ON f.oid = s.server_oid
		WHERE s.blocked_until > clock_timestamp() AND s.options <> jacksync.server_versions(s.server_oid)
			AND EXISTS (SELECT FROM jacksync.stream x WHERE x.server = f.srvname)
	LOOP
		PERFORM jacksync.sync_now(NULL, changed.srvname);
	END LOOP;
END
$$;
COMMENT ON FUNCTION jacksync.forgive_changed_servers() IS 'tries servers whose options were changed at once (internal)';

/* Codes that no map knows: told once, until the mapping is changed. */
CREATE FUNCTION jacksync.alert_unknown_codes(entity text, server name, codes text)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM jacksync.alert_raise('unknown_code', 'warning', 'Unknown Codes From PMS',
		format('Records of %s have codes that the mapping of fields does not know: %s.', entity, jacksync.clean_text(codes)),
		entity, server, jsonb_build_object('codes', jacksync.clean_text(codes)));
END
$$;
COMMENT ON FUNCTION jacksync.alert_unknown_codes(text, name, text) IS
'tells of codes that stream.fields does not map (internal)';
