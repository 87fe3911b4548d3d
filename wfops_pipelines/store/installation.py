"""Secrets of the installation itself, as the owner role writes them.

The audit chain's HMAC key is random and stored encrypted, like every secret: rotating ``WFOPS_SECRET_KEY`` re-encrypts
it and leaves the chain as it is.
"""

from __future__ import annotations

import base64

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects.postgresql import insert

from wfops_pipelines.domain.errors import StoreNotReady
from wfops_pipelines.store.secrets import SecretBox
from wfops_pipelines.store.tables.fleet import installation_secrets

AUDIT_KEY = "audit-key"


def ensure_audit_key(owner: Engine, box: SecretBox, fresh: bytes) -> None:
    """Store ``fresh`` (32 random bytes) as the audit key, unless there is one."""
    with owner.begin() as connection:
        connection.execute(insert(installation_secrets).values(
            name=AUDIT_KEY, token=box.encrypt(base64.b64encode(fresh).decode()), key_id=box.key_id,
        ).on_conflict_do_nothing())


def audit_key(connection: Connection, box: SecretBox) -> bytes:
    """The audit key; :class:`SecretUnreadable` when no key that is set decrypts it."""
    token = connection.execute(
        select(installation_secrets.c.token).where(installation_secrets.c.name == AUDIT_KEY)
    ).scalar_one_or_none()
    if token is None:
        raise StoreNotReady("the database has no audit key", fix="run `wfops doctor`")
    return base64.b64decode(box.decrypt(token))


def rotate(owner: Engine, box: SecretBox) -> int:
    """Re-encrypt the installation's secrets with the first key; returns how many it had to."""
    rotated = 0
    with owner.begin() as connection:
        for row in connection.execute(select(installation_secrets).with_for_update()).all():
            if box.needs_rotation(row.token):
                connection.execute(update(installation_secrets).where(installation_secrets.c.name == row.name)
                                   .values(token=box.rotate(row.token), key_id=box.key_id))
                rotated += 1
    return rotated
