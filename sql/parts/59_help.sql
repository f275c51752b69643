/* what to do next: for a configuration that is not finished */
CREATE FUNCTION jacksync.help()
RETURNS TABLE (step integer, done boolean, what text, sql text)
LANGUAGE sql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
	WITH s AS (
		SELECT v.srvname, v.oid AS server, coalesce((SELECT o.option_value FROM pg_options_to_table(v.srvoptions) o
			WHERE o.option_name = 'auth'), 'none') AS auth
		FROM pg_foreign_server v JOIN pg_foreign_data_wrapper w ON w.oid = v.srvfdw
		WHERE w.fdwname = 'jacksync' AND NOT EXISTS (SELECT FROM pg_options_to_table(v.srvoptions) o
			WHERE o.option_name = 'base_url' AND o.option_value ~* '^smtps?://')
		ORDER BY v.oid LIMIT 1),
	e AS (
		SELECT x.entity, x.local_table FROM jacksync.entity x
		ORDER BY EXISTS (SELECT FROM jacksync.stream t WHERE t.entity = x.entity), x.entity_id LIMIT 1)
	SELECT * FROM (VALUES
		(1, EXISTS (SELECT FROM s), 'Name the connection to the PMS.',
			'CREATE SERVER pms FOREIGN DATA WRAPPER jacksync OPTIONS (base_url ''https://pms.example.com/api'', auth ''bearer'');'),
		(2, EXISTS (SELECT FROM s WHERE s.auth = 'none') OR EXISTS (SELECT FROM s JOIN pg_user_mapping m ON m.umserver = s.server),
			'Give the owner of the table credentials, best in a file.',
			format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (token ''file:/etc/jacksync/token'');',
				coalesce((SELECT srvname FROM s), 'pms'))),
		(3, EXISTS (SELECT FROM e), 'Bind a table: it needs a primary key and a column for the id at the PMS.',
			'INSERT INTO jacksync.entity (entity, local_table) VALUES (''reservations'', ''reservations'');'),
		(4, EXISTS (SELECT FROM jacksync.authority), 'Say who wins, per field; a field without a rule is won by the PMS.',
			'SELECT jacksync.load_config(jacksync.hotel_config());'),
		(5, EXISTS (SELECT FROM e) AND NOT EXISTS (SELECT FROM jacksync.entity x
				WHERE NOT EXISTS (SELECT FROM jacksync.stream t WHERE t.entity = x.entity)),
			'Say how every entity is read, and written.',
			format('INSERT INTO jacksync.stream (entity, server, request) VALUES (%L, %L, ''{"path": "/%s", "query": {"updatedSince": "{since}"}}'');',
				coalesce((SELECT entity FROM e), 'reservations'), coalesce((SELECT srvname FROM s), 'pms'),
				coalesce((SELECT entity FROM e), 'reservations'))),
		(6, EXISTS (SELECT FROM jacksync.stream_state t WHERE t.last_sync_at IS NOT NULL), 'Synchronize, and look.',
			format('CALL jacksync.sync(%L); SELECT * FROM jacksync.status;', coalesce((SELECT entity FROM e), 'reservations'))),
		(7, EXISTS (SELECT FROM jacksync.worker_status w WHERE w.state <> 'dead'), 'Let the worker do it from now on.',
			'SELECT jacksync.start_worker();  -- for ever: shared_preload_libraries = ''jacksync'', jacksync.databases'),
		(8, EXISTS (SELECT FROM jacksync.stale_policy), 'Say how old data may be, and what old data forbids.',
			'INSERT INTO jacksync.stale_policy VALUES (''reservations'', ''5 min'', ''1 hour'', ''{check_in}'');'),
		(9, EXISTS (SELECT FROM jacksync.alert_channel c WHERE c.enabled AND c.type <> 'dashboard'), 'Let somebody be told when it fails.',
			'INSERT INTO jacksync.alert_channel (channel, type, server, sender, recipients) VALUES (''ops'', ''email'', ''relay'', ...); SELECT jacksync.test_channel(''ops'');'),
		(10, EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'jacksync' AND a.grantee <> n.nspowner),
			'Let others read, operate or configure.', 'SELECT jacksync.grant_access(''front_desk'', ''reader'');')
		) AS steps (step, done, what, sql)
	ORDER BY step
$$;
COMMENT ON FUNCTION jacksync.help() IS
'the steps from nothing to a table in sync: which are done, and the statement for each';
