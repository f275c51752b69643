/*
 * The page for people: one HTML document without anything from outside, made
 * from the views that SQL users read.  Every value is escaped by dash_text();
 * the markup is well-formed XML as well, which a test makes use of.
 */

/* what a browser would take for markup, and what would turn or hide text */
CREATE FUNCTION jacksync.dash_text(value text, most integer DEFAULT 300)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT replace(replace(replace(replace(replace(
		regexp_replace(
			CASE WHEN length(value) > most THEN left(value, most - 1) || '…' ELSE value END COLLATE "C",
			'[\u0001-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]', E'\uFFFD', 'g'),
		'&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;
COMMENT ON FUNCTION jacksync.dash_text(text, integer) IS
'a value as text of an HTML page (internal)';

CREATE FUNCTION jacksync.dash_time(value timestamptz)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(format('<time datetime="%s">%s</time>',
		to_char(value AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
		CASE WHEN value > now() THEN 'in ' || jacksync.age_text(value - now())
			ELSE jacksync.age_text(now() - value) || ' ago' END), 'never')
$$;
COMMENT ON FUNCTION jacksync.dash_time(timestamptz) IS
'a time of an HTML page: how long ago, with the exact time for programs (internal)';

/* a word with a shape and a colour: colour alone tells nothing */
CREATE FUNCTION jacksync.dash_badge(word text)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('<span class="badge %s"><span aria-hidden="true">%s</span> %s</span>', kind,
		CASE kind WHEN 'good' THEN '●' WHEN 'warn' THEN '▲' WHEN 'bad' THEN '■' ELSE '○' END,
		jacksync.dash_text(word, 40))
	FROM (SELECT CASE WHEN word IN ('connected', 'fresh', 'idle', 'active', 'running') THEN 'good'
		WHEN word IN ('stale', 'syncing', 'warning', 'waiting') THEN 'warn'
		WHEN word IN ('error', 'critical', 'dead', 'not running') THEN 'bad' ELSE 'plain' END) AS k (kind)
$$;
COMMENT ON FUNCTION jacksync.dash_badge(text) IS
'a state of an HTML page (internal)';

CREATE FUNCTION jacksync.dash_section(id text, title text, body text, count_ bigint DEFAULT NULL)
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(E'<section aria-labelledby="%s"><h2 id="%s">%s%s</h2>\n%s</section>\n', id, id, title,
		coalesce(format(' <span class="count">%s</span>', nullif(count_, 0)), ''), body)
$$;
COMMENT ON FUNCTION jacksync.dash_section(text, text, text, bigint) IS
'a section of an HTML page (internal)';

/* tables scroll inside of their own box, which the keyboard reaches; no rows: no table */
CREATE FUNCTION jacksync.dash_table(caption text, heads text[], rows_ text)
RETURNS text
LANGUAGE sql
IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(E'<div class="scroll" role="region" tabindex="0" aria-label="%s"><table><caption>%s</caption><thead><tr>%s</tr></thead>\n<tbody>%s</tbody></table></div>\n',
		caption, caption, (SELECT string_agg(format('<th scope="col">%s</th>', h), '' ORDER BY i)
			FROM unnest(heads) WITH ORDINALITY AS x (h, i)), rows_)
$$;
COMMENT ON FUNCTION jacksync.dash_table(text, text[], text) IS
'a table of an HTML page (internal)';

/* 24 bars, an hour each: what succeeded, and on top what failed */
CREATE FUNCTION jacksync.dash_plot(name text, good bigint[], bad bigint[], records bigint)
RETURNS text
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH hours AS (
		SELECT i, coalesce(good[i], 0) AS g, coalesce(bad[i], 0) AS b FROM generate_series(1, 24) AS i),
	sums AS (
		SELECT sum(g) AS g, sum(b) AS b, greatest(max(g + b), 1) AS most FROM hours)
	SELECT format('<svg viewBox="0 0 240 44" class="plot" preserveAspectRatio="none" role="img" aria-label="%s"><title>%s</title><desc>%s</desc><line x1="0" y1="42" x2="240" y2="42" class="axis"/>%s</svg><p class="legend">%s</p>',
		jacksync.dash_text(name || ': runs of the last 24 hours', 200), jacksync.dash_text(name || ', last 24 hours', 200), words,
		(SELECT string_agg(
			CASE WHEN g > 0 THEN format('<rect x="%s" y="%s" width="8" height="%s" class="ok"/>', (i - 1) * 10 + 1,
				round(42 - 40.0 * g / sums.most, 1), round(40.0 * g / sums.most, 1)) ELSE '' END ||
			CASE WHEN b > 0 THEN format('<rect x="%s" y="%s" width="8" height="%s" class="fail"/>', (i - 1) * 10 + 1,
				round(42 - 40.0 * (g + b) / sums.most, 1), greatest(round(40.0 * b / sums.most, 1), 2)) ELSE '' END, '' ORDER BY i)
			FROM hours), words)
	FROM sums, LATERAL (SELECT CASE WHEN sums.g + sums.b = 0 THEN 'No runs in the last 24 hours.'
		ELSE format('%s runs, %s failed, %s records', sums.g + sums.b, sums.b, coalesce(records, 0)) END) AS w (words)
$$;
COMMENT ON FUNCTION jacksync.dash_plot(text, bigint[], bigint[], bigint) IS
'runs of a stream as a small plot (internal)';

CREATE FUNCTION jacksync.dash_streams()
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	WITH hours AS (
		SELECT r.entity, r.server, 24 - floor(extract(epoch FROM now() - r.started) / 3600)::integer AS hour,
			(count(*) FILTER (WHERE r.success IS NOT FALSE) + sum(r.idle))::bigint AS good, count(*) FILTER (WHERE NOT r.success) AS bad,
			sum(r.records_processed) AS records
		FROM jacksync.sync_run r
		WHERE r.started > now() - interval '24 hours' AND r.started <= now() AND r.kind IN ('sync', 'push')
		GROUP BY 1, 2, 3),
	runs AS (
		SELECT h.entity, h.server, array_agg(coalesce(x.good, 0) ORDER BY i)::bigint[] AS good,
			array_agg(coalesce(x.bad, 0) ORDER BY i)::bigint[] AS bad, sum(x.records)::bigint AS records
		FROM (SELECT DISTINCT entity, server FROM hours) AS h CROSS JOIN generate_series(1, 24) AS i
			LEFT JOIN hours x ON x.entity = h.entity AND x.server = h.server AND x.hour = i
		GROUP BY 1, 2)
	SELECT coalesce('<div class="cards">' || string_agg(format(
			E'<article class="card"><h3>%s <small>from %s</small></h3><p>%s %s</p>%s<dl><div><dt>Last sync</dt><dd>%s</dd></div><div><dt>Next</dt><dd>%s</dd></div><div><dt>Waiting to be sent</dt><dd>%s</dd></div><div><dt>Conflicts</dt><dd>%s</dd></div><div><dt>Failures in a row</dt><dd>%s</dd></div></dl>%s</article>\n',
			jacksync.dash_text(s.entity, 63), jacksync.dash_text(s.server::text, 63), jacksync.dash_badge(s.status),
			CASE WHEN f.status <> s.status THEN jacksync.dash_badge(f.status) ELSE '' END,
			coalesce('<p class="message">' || jacksync.dash_text(s.message) || '</p>', ''),
			jacksync.dash_time(s.last_sync), CASE WHEN s.next_sync IS NULL THEN '–' WHEN s.next_sync <= now() THEN 'now'
				ELSE jacksync.dash_time(s.next_sync) END,
			s.pending_push, s.pending_conflicts, s.failure_count,
			jacksync.dash_plot(s.entity || ' from ' || s.server, r.good, r.bad, r.records)), ''
			ORDER BY array_position('{error,stale,syncing,connected}', s.status), s.entity, s.server) || '</div>',
		'<p class="empty">Nothing is synchronised yet. <code>INSERT INTO jacksync.entity</code> and <code>jacksync.stream</code> begin.</p>')
	FROM jacksync.status s
		CROSS JOIN LATERAL jacksync.check_freshness(s.entity, NULL, s.server) f
		LEFT JOIN runs r ON r.entity = s.entity AND r.server = s.server
$$;
COMMENT ON FUNCTION jacksync.dash_streams() IS
'entities and servers of the page (internal)';

CREATE FUNCTION jacksync.dash_conflicts(most integer)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(string_agg(format(
			E'<article class="card wide"><h3>%s %s <small>%s, held %s%s</small></h3><div class="three"><div><h4>Last agreed</h4><pre>%s</pre></div><div><h4>Here</h4><pre>%s</pre></div><div><h4>PMS</h4><pre>%s</pre></div></div><p class="sql"><code>SELECT jacksync.resolve_conflict(%s, ''local'');</code> <code>SELECT jacksync.resolve_conflict(%s, ''pms'');</code> <code>SELECT jacksync.resolve_conflict(%s, ''custom'', ''&quot;value&quot;'');</code></p></article>\n',
			jacksync.dash_text(c.entity, 63), jacksync.dash_text(coalesce(c.external_id, c.local_id), 80),
			jacksync.dash_text(c.field, 63), jacksync.dash_time(c.detected_at),
			coalesce(', because of ' || jacksync.dash_text(nullif(c.reason, 'manual'), 100), ''),
			jacksync.dash_text(coalesce(c.base_value #>> '{}', '(nothing)')), jacksync.dash_text(coalesce(c.local_value #>> '{}', '(nothing)')),
			jacksync.dash_text(coalesce(c.pms_value #>> '{}', '(nothing)')), c.conflict_id, c.conflict_id, c.conflict_id), '' ORDER BY c.n),
		'<p class="empty">No open conflicts.</p>')
		|| coalesce((SELECT format('<p class="more">and %s more in <code>jacksync.open_conflict</code></p>', count(*) - most)
			FROM jacksync.open_conflict HAVING count(*) > most), '')
	FROM (SELECT o.*, row_number() OVER () AS n FROM jacksync.open_conflict o LIMIT most) AS c
$$;
COMMENT ON FUNCTION jacksync.dash_conflicts(integer) IS
'open conflicts of the page, the most urgent first (internal)';

CREATE FUNCTION jacksync.dash_alerts(most integer)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jacksync.dash_table('Alerts that last, and those of the last 24 hours', '{Level,Alert,About,Raised,Over}',
			string_agg(format(E'<tr><td>%s</td><td><strong>%s</strong><br/>%s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n',
				jacksync.dash_badge(a.level), jacksync.dash_text(a.title, 100), jacksync.dash_text(a.message),
				jacksync.dash_text(concat_ws(' from ', a.entity, a.server), 130), jacksync.dash_time(a.raised_at),
				CASE WHEN a.resolved_at IS NULL THEN 'it lasts' ELSE jacksync.dash_time(a.resolved_at) END), '' ORDER BY a.n)),
		'<p class="empty">No alerts in the last 24 hours.</p>')
		|| coalesce((SELECT format('<p class="more">%s messages could not be delivered: <code>SELECT * FROM jacksync.alert_delivery WHERE state = ''dead'';</code></p>', count(*))
			FROM jacksync.alert_delivery d WHERE d.state = 'dead' HAVING count(*) > 0), '')
	FROM (SELECT x.*, row_number() OVER (ORDER BY x.resolved_at IS NOT NULL, jacksync.alert_level(x.level) DESC, x.raised_at DESC) AS n
		FROM jacksync.alert x WHERE x.resolved_at IS NULL OR x.raised_at > now() - interval '24 hours'
		ORDER BY x.resolved_at IS NOT NULL, jacksync.alert_level(x.level) DESC, x.raised_at DESC LIMIT most) AS a
$$;
COMMENT ON FUNCTION jacksync.dash_alerts(integer) IS
'alerts of the page (internal)';

CREATE FUNCTION jacksync.dash_waiting(most integer)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jacksync.dash_table('Records that are late', '{Record,Server,Why,Since}',
		string_agg(format(E'<tr><td>%s %s</td><td>%s</td><td>%s</td><td>%s</td></tr>\n',
			jacksync.dash_text(s.entity, 63), jacksync.dash_text(coalesce(s.external_id, s.local_id), 80),
			jacksync.dash_text(coalesce(s.server::text, '–'), 63), jacksync.dash_text(s.reason), jacksync.dash_time(s.since)), '')),
		'<p class="empty">No record is late.</p>')
	FROM (SELECT * FROM jacksync.stuck ORDER BY since LIMIT most) AS s
$$;
COMMENT ON FUNCTION jacksync.dash_waiting(integer) IS
'late records of the page (internal)';

CREATE FUNCTION jacksync.dash_dead(most integer)
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(jacksync.dash_table('Records that were given up', '{Record,What went wrong,Tried,First seen,What to do}',
		string_agg(format(E'<tr><td>%s %s</td><td>%s <small>%s</small></td><td>%s</td><td>%s</td><td class="sql"><code>SELECT jacksync.requeue(%s);</code> <code>SELECT jacksync.discard(%s, ''reason'');</code></td></tr>\n',
			jacksync.dash_text(e.entity, 63), jacksync.dash_text(coalesce(e.external_id, e.local_id, 'without id'), 80),
			jacksync.dash_text(e.error), jacksync.dash_text(e.sqlstate, 10), e.attempts, jacksync.dash_time(e.first_seen_at),
			e.error_id, e.error_id), '')),
		'<p class="empty">No dead letters.</p>')
		|| coalesce((SELECT format('<p class="more">and %s more in <code>jacksync.sync_error</code></p>', count(*) - most)
			FROM jacksync.sync_error x WHERE x.state = 'dead' HAVING count(*) > most), '')
	FROM (SELECT * FROM jacksync.sync_error x WHERE x.state = 'dead' ORDER BY x.error_id DESC LIMIT most) AS e
$$;
COMMENT ON FUNCTION jacksync.dash_dead(integer) IS
'dead letters of the page (internal)';

CREATE FUNCTION jacksync.dash_worker()
RETURNS text
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN pg_is_in_recovery() THEN '<p>This is a standby: the worker runs on the primary.</p>'
		ELSE coalesce(string_agg(format('<p>%s process %s, started %s, heartbeat %s, version %s</p>',
			jacksync.dash_badge(CASE WHEN w.state = 'dead' THEN 'not running' ELSE 'running' END), w.pid,
			jacksync.dash_time(w.started_at), jacksync.dash_time(w.heartbeat), jacksync.dash_text(w.library_version, 20)), ''),
		'<p>' || jacksync.dash_badge('not running') || ' The worker does not run in this database: <code>SELECT jacksync.start_worker();</code></p>') END
	FROM jacksync.worker_status w
$$;
COMMENT ON FUNCTION jacksync.dash_worker() IS
'the worker of the page (internal)';

CREATE FUNCTION jacksync.dash_style()
RETURNS text
LANGUAGE sql
IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ':root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--soft:#56617a;--line:#d9dee7;--good:#12703f;--warn:#8a5a00;--bad:#b3261e;--goodbg:#e3f4ea;--warnbg:#fdf0d5;--badbg:#fce8e6;--code:#eef1f6}
@media(prefers-color-scheme:dark){:root{--bg:#12161d;--card:#1b212b;--ink:#e6eaf2;--soft:#a3aec2;--line:#323c4c;--good:#6fd69a;--warn:#f1c15b;--bad:#ff9d94;--goodbg:#173325;--warnbg:#3a2e12;--badbg:#40201d;--code:#262e3b}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;font-variant-numeric:tabular-nums}
header,main,footer{max-width:76rem;margin:0 auto;padding:1rem}header{padding:1.5rem 1rem 0}main{padding-top:0}h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.6rem 0 .6rem;letter-spacing:.01em}h3{font-size:1rem;margin:0 0 .3rem;overflow-wrap:anywhere}h4{margin:0;font-size:.75rem;font-weight:600;color:var(--soft)}
small,.legend,.empty,.more,footer,caption,dt{color:var(--soft)}small{font-weight:400}.lead{font-size:1.05rem;margin:.3rem 0 0}.banner{background:var(--badbg);color:var(--bad);border-left:.4rem solid;border-radius:.3rem;padding:.7rem 1rem;margin:1rem 0 0;font-weight:600;overflow-wrap:anywhere}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(18rem,100%),1fr));gap:.8rem}.card{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.9rem 1rem;min-width:0}.wide{margin-bottom:.8rem}.card p{margin:.2rem 0}.message{overflow-wrap:anywhere}
dl{margin:.5rem 0;display:grid;gap:.1rem}dl div{display:flex;justify-content:space-between;gap:1rem}dd{margin:0;text-align:right}
.badge{display:inline-block;border-radius:1rem;padding:0 .6rem;font-size:.85rem;font-weight:600;background:var(--code)}.good{color:var(--good);background:var(--goodbg)}.warn{color:var(--warn);background:var(--warnbg)}.bad{color:var(--bad);background:var(--badbg)}.count{font-weight:400;color:var(--soft)}
.plot{width:100%;height:2.75rem;display:block;margin-top:.5rem}.ok{fill:var(--good);opacity:.75}.fail{fill:var(--bad)}.axis{stroke:var(--line)}.legend{font-size:.8rem}
.three{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(12rem,100%),1fr));gap:.6rem;margin:.5rem 0}.three>div{min-width:0}pre{margin:.15rem 0 0;padding:.4rem .6rem;background:var(--code);border-radius:.3rem;white-space:pre-wrap;overflow-wrap:anywhere;font:.85rem/1.45 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{font:.82rem ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--code);border-radius:.25rem;padding:.1rem .35rem;user-select:all;overflow-wrap:anywhere}
.sql code{display:inline-block;margin:.1rem .2rem .1rem 0}.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.5rem}.scroll:focus-visible{outline:2px solid var(--good);outline-offset:2px}table{border-collapse:collapse;width:100%}caption{text-align:left;font-size:.8rem;padding:.5rem .8rem 0}th,td{text-align:left;vertical-align:top;padding:.45rem .8rem;border-top:1px solid var(--line);overflow-wrap:break-word}thead th{font-size:.8rem;color:var(--soft);border-top:0;white-space:nowrap}td:first-child{white-space:nowrap}td strong{font-weight:600}footer{font-size:.8rem}'
$$;
COMMENT ON FUNCTION jacksync.dash_style() IS
'the style sheet of the page: light and dark, wide and narrow (internal)';

CREATE FUNCTION jacksync.dashboard_html()
RETURNS text
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, jacksync, pg_temp
AS $$
DECLARE
	most	constant integer := 50;
	lead	text;
	banners	text;
	conflicts bigint;
	dead	bigint;
	lasting	bigint;
BEGIN
	SELECT CASE WHEN count(*) = 0 THEN 'Nothing is synchronised yet.'
			WHEN count(*) = count(*) FILTER (WHERE s.status IN ('connected', 'syncing')) THEN
				format('All %s connections are in order.', count(*))
			ELSE format('Attention is needed for %s of %s connections.', count(*) FILTER (WHERE s.status IN ('error', 'stale')), count(*)) END,
		string_agg(DISTINCT format('<p class="banner" role="alert">%s</p>', jacksync.dash_text(s.banner)), '')
			FILTER (WHERE s.banner IS NOT NULL)
		INTO lead, banners FROM jacksync.status s;
	SELECT count(*) INTO conflicts FROM jacksync.manual_conflict WHERE status = 'pending';
	SELECT count(*) INTO dead FROM jacksync.sync_error WHERE state = 'dead';
	SELECT count(*) INTO lasting FROM jacksync.alert WHERE resolved_at IS NULL;
	RETURN concat(E'<!DOCTYPE html>\n<html lang="en" xmlns="http://www.w3.org/1999/xhtml"><head><meta charset="utf-8"/>',
		'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''"/>',
		'<meta name="viewport" content="width=device-width, initial-scale=1"/><meta name="referrer" content="no-referrer"/>',
		'<title>jacksync: ', jacksync.dash_text(current_database()::text, 63), '</title><style>', jacksync.dash_style(), E'</style></head>\n<body>',
		'<header><h1>jacksync <small>', jacksync.dash_text(current_database()::text, 63), '</small></h1><p class="lead">', lead, '</p>', banners,
		E'</header>\n<main>',
		jacksync.dash_section('streams', 'Connections', jacksync.dash_streams()),
		jacksync.dash_section('conflicts', 'Open conflicts', jacksync.dash_conflicts(most), conflicts),
		jacksync.dash_section('alerts', 'Alerts', jacksync.dash_alerts(most), lasting),
		jacksync.dash_section('late', 'Late records', jacksync.dash_waiting(most)),
		jacksync.dash_section('dead', 'Dead letters', jacksync.dash_dead(most), dead),
		jacksync.dash_section('worker', 'Worker', jacksync.dash_worker()),
		'</main><footer>Made ', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), ' UTC',
		CASE WHEN current_setting('TimeZone') NOT IN ('UTC', 'Etc/UTC', 'GMT') THEN
			format(', %s %s', to_char(now(), 'HH24:MI:SS'), jacksync.dash_text(current_setting('TimeZone'), 40)) END,
		', jacksync ', jacksync.library_version(), E'.</footer></body></html>\n');
END
$$;
COMMENT ON FUNCTION jacksync.dashboard_html() IS
'one HTML page for people: freshness, runs, conflicts, alerts, late and dead records; nothing in it is loaded from elsewhere';
