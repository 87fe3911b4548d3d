"""Migrations up, down and up again on an empty database, and no difference between the schema and the tables of the code."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.store import migrate
from wfops_pipelines.store.roles import bootstrap_roles


def main() -> int:
    """0 when all holds; prints what does not."""
    with (
        tempfile.TemporaryDirectory(prefix="wfops-migrations-") as home,
        EmbeddedPostgres(Path(home)).acquire(ephemeral=True) as holder,
    ):
        owner = bootstrap_roles(holder.admin_url(), passwords=lambda role: f"{role}-throw-away").owner
        migrate.upgrade(owner)
        migrate.downgrade(owner)
        migrate.upgrade(owner)
        different = migrate.differences(owner)
    for difference in different:
        print(f"differs: {difference}", file=sys.stderr)
    print("migrations: up, down, up; " + (f"{len(different)} differences" if different else "no difference"))
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main())
