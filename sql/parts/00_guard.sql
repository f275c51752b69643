/* jacksync: install script, assembled from sql/parts by make */

-- complain if this script is read by psql instead of by CREATE EXTENSION
\echo Use "CREATE EXTENSION jacksync" to load this file. \quit

COMMENT ON SCHEMA jacksync IS
'jacksync: two-way synchronisation of local tables with a Property Management System (PMS)';

REVOKE ALL ON SCHEMA jacksync FROM PUBLIC;
