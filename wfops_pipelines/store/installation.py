"""Secrets of the installation itself, as the owner role writes them.

The audit chain's HMAC key is random and stored encrypted, like every secret: rotating ``WFOPS_SECRET_KEY`` re-encrypts
it and leaves the chain as it is.
"""

from __future__ import annotations

import base64

import psycopg
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.domain.errors import SecretUnreadable, StoreNotReady
from wfops_pipelines.store.secrets import SETTING, SecretBox, naming
from wfops_pipelines.store.tables.fleet import installation_secrets

AUDIT_KEY = "audit-key"


def ensure_audit_key(owner: Engine, box: SecretBox, fresh: bytes) -> None:
    """Store ``fresh`` (32 random bytes) as the audit key, unless there is one: that must be readable then, so that a wrong
    ``WFOPS_SECRET_KEY`` is told at start (:class:`SecretUnreadable`)."""
    with owner.begin() as connection:
        connection.execute(insert(installation_secrets).values(
            name=AUDIT_KEY, token=box.encrypt(base64.b64encode(fresh).decode()), key_id=box.key_id,
        ).on_conflict_do_nothing())
        audit_key(connection, box)


def refuse_other_key(store_url: str, box: SecretBox) -> None:
    """Raise :class:`SecretUnreadable` when the database's secrets were encrypted with none of the keys that are set.

    For an administrator, before the roles' passwords are set anew: a process that was started with a wrong key must not
    lock out those that run with the right one. A database without our schema has nothing to refuse.
    """
    with psycopg.connect(store_url) as connection:
        try:
            row = connection.execute("SELECT token FROM installation_secrets WHERE name = %s", (AUDIT_KEY,)).fetchone()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
            return  # not migrated yet; or an administrator who may not look: the owner finds out later
    if row is not None:
        _open(box, row[0])


def audit_key(connection: Connection, box: SecretBox) -> bytes:
    """The audit key; :class:`SecretUnreadable` when no key that is set decrypts it."""
    token = connection.execute(
        select(installation_secrets.c.token).where(installation_secrets.c.name == AUDIT_KEY)
    ).scalar_one_or_none()
    if token is None:
        raise StoreNotReady("the database has no audit key", fix="run `wfops doctor`")
    return base64.b64decode(_open(box, token))


def rotate(owner: Engine, box: SecretBox, *, dry_run: bool = False) -> int:
    """Re-encrypt the installation's secrets with the first key; returns how many it had to, or with ``dry_run`` would."""
    rotated = 0
    with owner.begin() as connection:
        for row in connection.execute(select(installation_secrets).with_for_update()).all():
            if not box.needs_rotation(row.token):
                continue
            if not dry_run:
                with naming(f"installation secret {row.name}"):
                    token = box.rotate(row.token)
                connection.execute(update(installation_secrets).where(installation_secrets.c.name == row.name)
                                   .values(token=token, key_id=box.key_id))
            rotated += 1
    return rotated


def _open(box: SecretBox, token: str) -> str:
    try:
        return box.decrypt(token)
    except SecretUnreadable as error:
        raise SecretUnreadable(f"{SETTING} is not the key of this database: {error.message}", fix=(
            f"set {SETTING} to the key this database was made with (of an embedded one: the file secret.key in "
            "WFOPS_HOME); a key that is to be replaced stands second until `wfops secrets rotate` is done")) from None
