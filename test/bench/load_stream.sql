/* The stream of the initial load. */
SET search_path = bench, public;
CREATE TABLE load_rows (LIKE rows_template INCLUDING ALL);
CREATE SERVER pages FOREIGN DATA WRAPPER jacksync OPTIONS (base_url :'pms', rate_limit '100000/1s');
INSERT INTO jacksync.entity (entity, local_table) VALUES ('load', 'bench.load_rows');
INSERT INTO jacksync.authority (entity, field, strategy) VALUES ('load', '*', 'latest_wins');
INSERT INTO jacksync.stream (entity, server, request, record_path, deleted_path, paginator, poll_interval)
VALUES ('load', 'pages', '{"path": "/v1/reservations", "query": {"page": "{page}", "pageSize": "{limit}"}}', '$.data[*]', '$.deleted == true',
	jsonb_build_object('type', 'page_number', 'base_page', 1, 'page_size', :page, 'has_more_path', '$.hasMore', 'total_path', '$.total'), '1 h');
SELECT jacksync.wake_worker() \g /dev/null
