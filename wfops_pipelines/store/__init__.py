"""PostgreSQL: tables, tenancy, units of work, secrets and migrations."""
