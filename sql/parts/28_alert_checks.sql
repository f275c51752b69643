/*
 * Checks of policies, thresholds and channels; and what all configuration
 * tables have in common.
 */

-- ---------------------------------------------------------------------------
-- stale_policy, alert_threshold, alert_channel
-- ---------------------------------------------------------------------------

CREATE FUNCTION jacksync.stale_policy_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Policy for entity "%s".', NEW.entity);
BEGIN
	IF NEW.entity = '' OR length(NEW.entity) > 63 OR NEW.entity ~ '[[:cntrl:].*]' THEN
		PERFORM jacksync.config_error('stale_policy', 'entity', format('bad name "%s"', left(NEW.entity, 100)), detail,
			'Write the name of an entity, such as reservations.');
	END IF;
	IF NEW.max_stale_age <= interval '0' THEN
		PERFORM jacksync.config_error('stale_policy', 'max_stale_age', format('"%s" is too short', NEW.max_stale_age), detail,
			'The age must be positive, such as 5 minutes.');
	END IF;
	IF NEW.critical_stale_age < NEW.max_stale_age THEN
		PERFORM jacksync.config_error('stale_policy', 'critical_stale_age',
			format('"%s" is less than max_stale_age "%s"', NEW.critical_stale_age, NEW.max_stale_age), detail,
			'Data is stale before it is critical: make critical_stale_age at least max_stale_age.');
	END IF;
	IF array_position(NEW.affected_operations, NULL) IS NOT NULL OR '' = ANY (NEW.affected_operations) THEN
		PERFORM jacksync.config_error('stale_policy', 'affected_operations',
			format('empty name in "%s"', NEW.affected_operations), detail,
			'Write names of operations, such as {check_in,billing}.');
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.stale_policy_check() IS 'checks a policy (trigger)';
CREATE TRIGGER stale_policy_check
	BEFORE INSERT OR UPDATE ON jacksync.stale_policy
	FOR EACH ROW EXECUTE FUNCTION jacksync.stale_policy_check();
COMMENT ON TRIGGER stale_policy_check ON jacksync.stale_policy IS 'checks a policy';

CREATE FUNCTION jacksync.alert_threshold_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Threshold for "%s".', NEW.metric);
BEGIN
	PERFORM jacksync.check_one_of('alert_threshold', 'metric', NEW.metric, '{consecutive_failures,stale_data}', detail);
	IF NOT (NEW.warning > 0 AND NEW.warning < 'Infinity') THEN
		PERFORM jacksync.config_error('alert_threshold', 'warning', format('%s is not positive', NEW.warning), detail,
			'Write a positive number of failures or seconds.');
	END IF;
	IF NOT (NEW.critical >= NEW.warning AND NEW.critical < 'Infinity') THEN
		PERFORM jacksync.config_error('alert_threshold', 'critical',
			format('%s is less than warning %s', NEW.critical, NEW.warning), detail,
			'A warning comes before it is critical: make critical at least warning.');
	END IF;
	IF NEW.metric = 'consecutive_failures'
		AND (NEW.warning <> trunc(NEW.warning) OR NEW.critical <> trunc(NEW.critical))
	THEN
		PERFORM jacksync.config_error('alert_threshold',
			CASE WHEN NEW.warning <> trunc(NEW.warning) THEN 'warning' ELSE 'critical' END,
			'failures are counted in whole numbers', detail, 'Write a whole number of failures.');
	END IF;
	/* a dump brings the rows that CREATE EXTENSION has just made */
	IF TG_OP = 'INSERT' AND jacksync.is_restore() THEN
		UPDATE jacksync.alert_threshold t SET warning = NEW.warning, critical = NEW.critical
		WHERE t.metric = NEW.metric;
		IF FOUND THEN
			RETURN NULL;
		END IF;
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.alert_threshold_check() IS 'checks a threshold (trigger)';
CREATE TRIGGER alert_threshold_check
	BEFORE INSERT OR UPDATE ON jacksync.alert_threshold
	FOR EACH ROW EXECUTE FUNCTION jacksync.alert_threshold_check();
COMMENT ON TRIGGER alert_threshold_check ON jacksync.alert_threshold IS 'checks a threshold';

CREATE FUNCTION jacksync.is_mail_address(address text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(length(address) <= 254
		AND address COLLATE "C" ~ '^[A-Za-z0-9!#$%&''*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&''*+/=?^_`{|}~-]+)*@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$', false)
$$;
COMMENT ON FUNCTION jacksync.is_mail_address(text) IS
'whether a text is a plain mail address: no name, no brackets, no line break (internal)';

CREATE FUNCTION jacksync.alert_channel_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	detail text := format('Channel "%s".', NEW.channel);
	address text;
BEGIN
	IF NEW.channel IS NULL OR NEW.type IS NULL OR NEW.recipients IS NULL OR NEW.min_level IS NULL
		OR NEW.enabled IS NULL OR NEW.repeat_interval IS NULL
	THEN
		RETURN NEW;		-- the table's own constraints say it
	END IF;
	IF NEW.channel = '' OR length(NEW.channel) > 63 OR NEW.channel ~ '[[:cntrl:]]' THEN
		PERFORM jacksync.config_error('alert_channel', 'channel', format('bad name "%s"', left(NEW.channel, 100)), detail,
			'A name has 1 to 63 characters.');
	END IF;
	PERFORM jacksync.check_one_of('alert_channel', 'type', NEW.type, '{email,slack,webhook,dashboard}', detail);
	PERFORM jacksync.check_one_of('alert_channel', 'min_level', NEW.min_level, '{info,warning,critical}', detail);
	IF NEW.repeat_interval <= interval '0' THEN
		PERFORM jacksync.config_error('alert_channel', 'repeat_interval',
			format('"%s" is too short', NEW.repeat_interval), detail,
			'The interval must be positive, such as 4 hours.');
	END IF;
	FOREACH address IN ARRAY NEW.recipients LOOP
		IF NOT jacksync.is_mail_address(address) THEN
			PERFORM jacksync.config_error('alert_channel', 'recipients',
				format('%s is no mail address', quote_nullable(left(address, 100))), detail,
				'Write plain addresses, such as ops@hotel.com.');
		END IF;
	END LOOP;
	IF NEW.sender IS NOT NULL AND NOT jacksync.is_mail_address(NEW.sender) THEN
		PERFORM jacksync.config_error('alert_channel', 'sender',
			format('%s is no mail address', quote_nullable(left(NEW.sender, 100))), detail,
			'Write a plain address, such as jacksync@hotel.com.');
	END IF;
	IF NEW.webhook_secret !~ '^[A-Za-z_][A-Za-z0-9_]*$' THEN
		PERFORM jacksync.config_error('alert_channel', 'webhook_secret',
			'it is no name of a secret', detail,
			'The address of a webhook is a secret: put it into the user mapping as secret_<name> and write <name> here.');
	END IF;
	IF NEW.server IS NOT NULL AND (TG_OP = 'INSERT' OR (NEW.server, NEW.type, NEW.sender, NEW.recipients, NEW.webhook_secret)
		IS DISTINCT FROM (OLD.server, OLD.type, OLD.sender, OLD.recipients, OLD.webhook_secret))
	THEN
		PERFORM jacksync.check_server('alert_channel', 'server', NEW.server, detail);
	END IF;
	SELECT o.option_value INTO address
		FROM pg_foreign_server f, pg_options_to_table(f.srvoptions) o
		WHERE f.srvname = NEW.server AND o.option_name = 'base_url';
	IF (NEW.type = 'email' AND address !~* '^smtps?://')
		OR (NEW.type IN ('slack', 'webhook') AND address !~* '^https?://')
	THEN
		PERFORM jacksync.config_error('alert_channel', 'server',
			format('base_url of server "%s" is "%s"', NEW.server, left(address, 100)), detail,
			CASE NEW.type WHEN 'email' THEN 'A channel of type email needs a server with smtp:// or smtps://.'
				ELSE format('A channel of type %s needs a server with https://.', NEW.type) END);
	END IF;
	IF NEW.enabled AND NEW.type <> 'dashboard' THEN
		IF NEW.server IS NULL THEN
			PERFORM jacksync.config_error('alert_channel', 'server',
				format('NULL in a channel of type %s', NEW.type), detail,
				'Name the foreign server of the mail relay or webhook, or set enabled to false.');
		END IF;
		IF NEW.type = 'email' AND NEW.sender IS NULL THEN
			PERFORM jacksync.config_error('alert_channel', 'sender', 'NULL in a channel of type email', detail,
				'Write the address that mails come from, or set enabled to false.');
		END IF;
		IF NEW.type = 'email' AND cardinality(NEW.recipients) = 0 THEN
			PERFORM jacksync.config_error('alert_channel', 'recipients', 'empty in a channel of type email', detail,
				'Write the addresses that mails go to, or set enabled to false.');
		END IF;
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION jacksync.alert_channel_check() IS 'checks a channel (trigger)';
CREATE TRIGGER alert_channel_check
	BEFORE INSERT OR UPDATE ON jacksync.alert_channel
	FOR EACH ROW EXECUTE FUNCTION jacksync.alert_channel_check();
COMMENT ON TRIGGER alert_channel_check ON jacksync.alert_channel IS 'checks a channel';

-- ---------------------------------------------------------------------------
-- All of them
-- ---------------------------------------------------------------------------

CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.entity
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.authority
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.stream
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.stale_policy
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.alert_threshold
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
CREATE TRIGGER config_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON jacksync.alert_channel
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_changed();
COMMENT ON TRIGGER config_changed ON jacksync.entity IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.authority IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.stream IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.stale_policy IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.alert_threshold IS 'lets all sessions read the configuration again';
COMMENT ON TRIGGER config_changed ON jacksync.alert_channel IS 'lets all sessions read the configuration again';

/* TRUNCATE would go past the row triggers that detach tables and drop state */
CREATE FUNCTION jacksync.config_truncate() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING
		ERRCODE = 'feature_not_supported',
		MESSAGE = format('cannot truncate table %s.%s', TG_TABLE_SCHEMA, TG_TABLE_NAME),
		HINT = 'Use DELETE.';
END;
$$;
COMMENT ON FUNCTION jacksync.config_truncate() IS 'refuses TRUNCATE (trigger)';
CREATE TRIGGER config_truncate BEFORE TRUNCATE ON jacksync.entity
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_truncate();
CREATE TRIGGER config_truncate BEFORE TRUNCATE ON jacksync.stream
	FOR EACH STATEMENT EXECUTE FUNCTION jacksync.config_truncate();
COMMENT ON TRIGGER config_truncate ON jacksync.entity IS 'refuses TRUNCATE';
COMMENT ON TRIGGER config_truncate ON jacksync.stream IS 'refuses TRUNCATE';
