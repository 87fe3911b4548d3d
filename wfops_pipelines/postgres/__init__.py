"""An embedded PostgreSQL: binaries from a wheel, a supervisor of our own. Below `bootstrap`, which starts it."""
