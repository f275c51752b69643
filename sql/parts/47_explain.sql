/*
 * Why a value is what it is, what another rule would have done, and taking a
 * decision back.
 */
CREATE FUNCTION jacksync.undo(audit_id bigint)
RETURNS void
AS 'MODULE_PATHNAME', 'jacksync_undo'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.undo(bigint) IS
'puts the value back that lost by an audited decision, and pushes it; audited itself, so that it can be undone';

CREATE FUNCTION jacksync.row_values(entity text, local_id text)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'jacksync_row_values'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.row_values(text, text) IS
'the fields of a local row as it is now (internal)';

CREATE FUNCTION jacksync.decide(entity text, field text, strategy jacksync.strategy, unless_blank boolean,
	base jsonb, local jsonb, pms jsonb, local_updated_at timestamptz, pms_updated_at timestamptz)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'jacksync_decide'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION jacksync.decide(text, text, jacksync.strategy, boolean, jsonb, jsonb, jsonb, timestamptz, timestamptz) IS
'the value that a rule gives for three values of a field, by the type of its column; NULL: held for a person (internal)';

/*
 * Guest data is for those who may read the local table.  Row security that
 * applies to them cannot be evaluated here, so it counts as a no.
 */
CREATE FUNCTION jacksync.check_may_read(entity text)
RETURNS void
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	role	name := jacksync.acting_role();
	rel		regclass;
	secured	boolean;
BEGIN
	SELECT e.local_table, c.relrowsecurity AND NOT r.rolbypassrls AND NOT r.rolsuper
			AND (c.relforcerowsecurity OR NOT pg_has_role(r.oid, c.relowner, 'USAGE'))
		INTO rel, secured
		FROM jacksync.entity e JOIN pg_class c ON c.oid = e.local_table, pg_roles r
		WHERE e.entity = check_may_read.entity AND r.rolname = role;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity
			USING ERRCODE = 'undefined_object', HINT = 'SELECT entity FROM jacksync.entity lists the entities.';
	END IF;
	IF secured OR NOT has_table_privilege(role, rel, 'SELECT') THEN
		RAISE EXCEPTION 'permission denied for table %', rel
			USING ERRCODE = 'insufficient_privilege',
				HINT = 'Values of records are for roles that may read all of the local table.';
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.check_may_read(text) IS
'refuses roles that may not read the table of an entity (internal)';

CREATE FUNCTION jacksync.explain(entity text, external_id text, field text DEFAULT NULL)
RETURNS TABLE (field_name text, value jsonb, pms_value jsonb, set_by text, set_at timestamptz,
	strategy jacksync.strategy, rule text, lost jsonb, lost_by text, audit_id bigint,
	conflict_id bigint, explanation text)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	l		record;
	now_	jsonb;
	a		jacksync.audit_log;
	c		jacksync.manual_conflict;
	r		jacksync.authority;
	changed	timestamptz;
	found_any boolean := false;
BEGIN
	PERFORM jacksync.check_may_read(entity);
	SELECT k.*, s.server INTO l
		FROM jacksync.link k JOIN jacksync.entity e ON e.entity_id = k.entity_id
			LEFT JOIN jacksync.stream s ON s.stream_id = k.stream_id
		WHERE e.entity = explain.entity AND k.external_id = explain.external_id
		ORDER BY k.last_sync_at DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'entity "%" has no record "%"', entity, external_id
			USING ERRCODE = 'undefined_object', HINT = 'SELECT external_id FROM jacksync.record lists the records.';
	END IF;
	now_ := jacksync.row_values(entity, l.local_id);
	FOR field_name IN
		SELECT k FROM jsonb_object_keys(coalesce(now_, l.snapshot, '{}')) AS k
		WHERE explain.field IS NULL OR k = explain.field ORDER BY k COLLATE "C"
	LOOP
		found_any := true;
		value := now_ -> field_name;
		pms_value := l.snapshot -> field_name;
		SELECT * INTO r FROM jacksync.authority x
			WHERE x.entity = explain.entity AND x.field IN (field_name, '*')
			ORDER BY x.field = '*' LIMIT 1;
		strategy := coalesce(r.strategy, 'pms_wins');
		rule := CASE WHEN r.entity IS NULL THEN 'no rule: the PMS wins'
			ELSE format('%s for %s%s', r.strategy, quote_literal(r.field), coalesce(': ' || r.rationale, '')) END;
		SELECT * INTO c FROM jacksync.manual_conflict m
			WHERE m.record_id = l.record_id AND m.field = field_name AND m.status = 'pending';
		conflict_id := c.conflict_id;
		SELECT * INTO a FROM jacksync.audit_log x
			WHERE x.entity = explain.entity AND x.external_id = explain.external_id AND x.field = field_name
				AND x.conflict_details IS NOT NULL
			ORDER BY x.audit_id DESC LIMIT 1;
		changed := timestamptz '2000-01-01 00:00:00+00'
			+ (l.local_times ->> field_name)::numeric * interval '1 us';
		-- what is captured and not taken up yet
		SELECT coalesce(max(g.changed_at), changed) INTO changed
			FROM jacksync.change g JOIN jacksync.entity e ON e.entity_id = g.entity_id
			WHERE g.entity_id = l.entity_id AND g.local_id = l.local_id
				AND (g.columns IS NULL OR (SELECT CASE WHEN t.attnum < 8 * length(g.columns)
						THEN get_bit(g.columns, t.attnum) = 1 END FROM pg_attribute t
					WHERE t.attrelid = e.local_table
						AND t.attname = coalesce(r.column_name, jacksync.snake_case(field_name))));
		audit_id := NULL; lost := NULL; lost_by := NULL;
		IF now_ IS NULL THEN
			set_by := NULL; set_at := NULL;
			explanation := 'there is no local row';
		ELSIF c.conflict_id IS NOT NULL THEN
			set_by := 'local'; set_at := c.detected_at; lost := c.pms_value; lost_by := 'held';
			explanation := format('held in conflict %s (%s): the PMS has %s', c.conflict_id, c.reason, c.pms_value);
		ELSIF a.audit_id IS NOT NULL AND a.after_state -> field_name = value THEN
			audit_id := a.audit_id; set_at := a.logged_at;
			set_by := CASE WHEN a.resolved_by <> 'system' THEN a.resolved_by
				ELSE a.conflict_details ->> 'resolution' END;
			lost_by := coalesce(a.conflict_details ->> 'reason', a.operation);
			lost := CASE a.conflict_details ->> 'resolution' WHEN 'local' THEN a.conflict_details -> 'pmsValue'
				ELSE a.conflict_details -> 'localValue' END;
			explanation := format('decided at %s by %s (%s, %s): %s lost; SELECT jacksync.undo(%s) puts it back',
				a.logged_at, a.resolved_by, a.conflict_details ->> 'strategy', lost_by, lost, a.audit_id);
		ELSIF changed IS NOT NULL THEN
			set_by := 'local'; set_at := changed;
			explanation := CASE WHEN coalesce(r.push, strategy IN ('merge', 'latest_wins', 'manual')) THEN 'changed here, the PMS has yet to learn of it' ELSE 'changed here' END;
		ELSIF pms_value IS NULL THEN
			set_by := 'local'; set_at := l.local_updated_at;
			explanation := 'the PMS never sent this field';
		ELSE
			set_by := 'pms'; set_at := coalesce(l.pms_updated_at, l.last_sync_at);
			explanation := 'as the PMS sent it';
		END IF;
		RETURN NEXT;
	END LOOP;
	IF explain.field IS NOT NULL AND NOT found_any THEN
		RAISE EXCEPTION 'entity "%" has no field "%"', entity, field
			USING ERRCODE = 'undefined_object', HINT = 'Leave the field out to see all of them.';
	END IF;
END
$$;
COMMENT ON FUNCTION jacksync.explain(text, text, text) IS
'the value of a field (or of all) now: who set it, when, under which rule, and what lost';

/*
 * A changed rule over the past: what was audited has all three values and
 * both times, so that every conflict can be decided again.
 */
CREATE FUNCTION jacksync.preview_rule(entity text, field text, strategy jacksync.strategy,
	unless_blank boolean DEFAULT false, since interval DEFAULT NULL)
RETURNS TABLE (audit_id bigint, logged_at timestamptz, external_id text,
	base jsonb, local jsonb, pms jsonb, decided jsonb, would_decide jsonb, different boolean)
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM jacksync.check_may_read(entity);
	RETURN QUERY
	SELECT x.*, x.decided IS DISTINCT FROM x.would_decide
	FROM (
		SELECT a.audit_id, a.logged_at, a.external_id,
			nullif(d -> 'baseValue', 'null'),
			d -> 'localValue', d -> 'pmsValue', a.after_state -> a.field AS decided,
			jacksync.decide(preview_rule.entity, preview_rule.field, preview_rule.strategy, preview_rule.unless_blank,
				nullif(d -> 'baseValue', 'null'), d -> 'localValue', d -> 'pmsValue',
				(d ->> 'localUpdatedAt')::timestamptz, (d ->> 'pmsUpdatedAt')::timestamptz) AS would_decide
		FROM jacksync.audit_log a, LATERAL (SELECT a.conflict_details) AS c (d)
		WHERE a.entity = preview_rule.entity AND a.field = preview_rule.field
			AND a.operation = 'conflict_resolution' AND a.resolved_by = 'system'
			AND (since IS NULL OR a.logged_at >= now() - since)) AS x
	ORDER BY x.audit_id;
END
$$;
COMMENT ON FUNCTION jacksync.preview_rule(text, text, jacksync.strategy, boolean, interval) IS
'how another rule would have decided the audited conflicts of a field; would_decide is NULL where it would have been held for a person';

CREATE FUNCTION jacksync.preview_rule_summary(entity text, field text, strategy jacksync.strategy,
	unless_blank boolean DEFAULT false, since interval DEFAULT NULL)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('would have decided %s of %s differently', count(*) FILTER (WHERE p.different), count(*))
	FROM jacksync.preview_rule(entity, field, strategy, unless_blank, since) p
$$;
COMMENT ON FUNCTION jacksync.preview_rule_summary(text, text, jacksync.strategy, boolean, interval) IS
'the same in one sentence: would have decided 41 of 312 differently';
