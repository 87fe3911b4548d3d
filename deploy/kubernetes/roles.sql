-- The login roles and both databases, for a server whose administrator WorkflowOps is not to know. As the administrator (a superuser,
-- or a role with CREATEDB, CREATEROLE and BYPASSRLS):
--   psql --dbname postgres --set owner="$A" --set app="$B" --set system="$C" --set dagster="$D" --file deploy/kubernetes/roles.sql
-- where A to D are passwords (openssl rand -hex 24). They are parts of the URLs in the secret `wfops`; the last one is also the
-- secret `wfops-postgres`. Names begin with WFOPS_ROLE_PREFIX, which is wfops unless it is set: migrations grant to them.
\set ON_ERROR_STOP on
-- Migrations and maintenance. Row-level security binds an owner, too, whose updates would then touch nothing.
CREATE ROLE wfops_owner WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD :'owner';
-- What people ask for, each tenant apart; reading across tenants for sweeps; Dagster's own tables.
CREATE ROLE wfops_app WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'app';
CREATE ROLE wfops_system WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'system';
CREATE ROLE wfops_dagster WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'dagster';
-- An administrator that is no superuser gives databases only to roles that it is a member of.
GRANT wfops_owner, wfops_dagster TO CURRENT_USER;
CREATE DATABASE wfops OWNER wfops_owner TEMPLATE template0 ENCODING 'UTF8';
CREATE DATABASE wfops_dagster OWNER wfops_dagster TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE wfops, wfops_dagster FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE wfops TO wfops_app;
GRANT CONNECT ON DATABASE wfops TO wfops_system;
REVOKE wfops_owner, wfops_dagster FROM CURRENT_USER;
