"""A delivery of a webhook: whose it is, proved by its signature, and kept (§21).

Nothing of a body is believed before a secret has proved who sent it, and nothing is kept of one that no secret proves.
Which secrets may have signed it is found by the repositories that it seems to name. Two tenants may read one repository:
each has a secret of its own, and hears of what is signed with that one.

A delivery is kept in the transaction in which it is found to be new, so a replay is told from it. Replays that come after
retention removed what they repeat are harmless: a push is a hint to look at a reference.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Row

from wfops_pipelines.answer_bodies import values_at_most
from wfops_pipelines.domain import pushes
from wfops_pipelines.domain.context import Context
from wfops_pipelines.domain.errors import Denied, MalformedDelivery, SecretUnreadable
from wfops_pipelines.services.push_dispatch import ACTOR
from wfops_pipelines.services.services import Services
from wfops_pipelines.store.unit_of_work import UnitOfWork

log = logging.getLogger("wfops.pushes")

MAX_VALUES = 1_000_000
"""Of a delivery, some 130 bytes of memory each once it is read. A push has at most 2,048 commits, of some thirty values
each, and the files that they touched. Signed is not the same as well meant: whoever runs a repository knows its secret."""

_NAMES = ("clone_url", "ssh_url", "git_url", "html_url")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What arrived. ``signed`` is the body as it came: JSON, or a ``form`` with a field of it."""

    event: str
    delivery_id: str
    hook_id: str
    signature: str
    signed: bytes = field(repr=False)
    form: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery for one repository of one tenant: ``received`` (a refresh is asked for), ``launched``
    (one was already) or ``ignored``, with the ``reason``; ``known`` where it had come before."""

    tenant: str
    repository: str
    status: str
    environments: tuple[str, ...] = ()
    reason: str | None = None
    known: bool = False


def receive(services: Services, delivery: Delivery, *, app_secret: str | None = None) -> list[Receipt]:
    """Keep a delivery for everybody whose secret signed it. ``app_secret`` is that of a GitHub App of this installation: it
    stands for repositories that are read through the App and have no secret of their own.

    :class:`Denied` when nobody's did, or it names no repository of theirs, without a hint which; :class:`MalformedDelivery`
    when it is theirs and cannot be read. What the store raises: then some may have kept it, and the others do on the next
    delivery.
    """
    owners = [(row, context) for row, context in _candidates(services, delivery)
              if _signed_by(services, context, row, delivery, app_secret)]
    if not owners:
        hmac.digest(b"-", delivery.signed, hashlib.sha256)  # as long as it takes where there is somebody to ask
        raise _denied()
    written = pushes.form_payload(delivery.signed) if delivery.form else delivery.signed
    document = _parsed(written)
    named = _repository_of(document)
    owners = [(row, context) for row, context in owners if pushes.remote_key(row.url) in named]
    if not owners:
        raise _denied()
    if delivery.event not in {"push", "ping"}:
        return [Receipt(context.tenant_slug, row.name, "ignored", reason=f"event {delivery.event}")
                for row, context in owners]
    push = pushes.read_push(document) if delivery.event == "push" else None
    digest = _digest(delivery.event, written)
    return [_keep(services, context, row, delivery, push, digest) for row, context in owners]


def _denied() -> Denied:
    return Denied("the signature is missing or not that of a webhook of this installation",
                  fix="check the webhook's secret and URL, and webhook_secret and url in fleet.yaml: a repository that was "
                      "renamed or moved has another address")


def _candidates(services: Services, delivery: Delivery) -> list[tuple[Row[Any], Context]]:
    keys = pushes.named_remotes(delivery.signed, form=delivery.form)
    with services.store.system() as system:
        rows = system.pushes.repositories(sorted({key.partition("/")[2] for key in keys}))
    return [(row, services.context_of(row.tenant_id, row.tenant_slug, ACTOR)) for row in rows
            if pushes.remote_key(row.url) in keys]


def _signed_by(services: Services, context: Context, row: Row[Any], delivery: Delivery, app_secret: str | None) -> bool:
    secret = app_secret if row.github_app is not None else None
    if row.webhook_secret is not None:
        try:
            with services.store.read(context) as work:
                secret = work.fleet.secret(row.webhook_secret)
        except SecretUnreadable as error:
            log.warning("webhook of %s/%s: %s", context.tenant_slug, row.name, error)
            return False
    return secret is not None and pushes.is_signed(secret, delivery.signed, delivery.signature)


def _parsed(document: bytes) -> Mapping[str, Any]:
    if values_at_most(document) > MAX_VALUES:
        raise MalformedDelivery(f"the body holds more than {MAX_VALUES:,} values", fix="send GitHub's events")
    try:
        parsed = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise MalformedDelivery("the body is no JSON", fix="let the webhook send application/json") from None
    if not isinstance(parsed, dict):
        raise MalformedDelivery("the body is no JSON object", fix="send GitHub's events")
    return parsed


def _repository_of(document: Mapping[str, Any]) -> set[str | None]:
    """The keys of the one repository that the event is about."""
    repository = document.get("repository")
    urls: Sequence[Any] = [repository.get(name) for name in _NAMES] if isinstance(repository, dict) else []
    return {pushes.remote_key(url) for url in urls if isinstance(url, str)} - {None}


def _digest(event: str, document: bytes) -> str:
    """What a replay is known by. The event belongs to it: it is in a header, which nobody signed, and a push that somebody
    else sent as a ping would be no news when it comes as a push."""
    digest = hashlib.sha256(event.encode() + b"\n")
    digest.update(document)
    return digest.hexdigest()


def _keep(services: Services, context: Context, repository: Row[Any], delivery: Delivery, push: pushes.Push | None,
          digest: str) -> Receipt:
    with services.store.bookkeeping(context, "push.received") as work:
        found, reason = _touched(work, repository, delivery, push)
        status = "received" if found else "ignored"
        new = work.pushes.add_delivery(
            id=context.new_id(), repository_id=repository.id, hook_id=delivery.hook_id, delivery_id=delivery.delivery_id,
            event=delivery.event, body_digest=digest, branch=push.branch if push else None,
            before_commit=push.before if push else None, after_commit=push.after if push else None,
            forced=push.forced if push else False, environments=found, status=status, reason=reason,
            received_at=context.now())
        if not new:
            row = work.pushes.delivery(repository.id, delivery.hook_id, delivery.delivery_id, digest)
            if row is None:  # of a transaction that began later, and so is not to be seen here
                return Receipt(context.tenant_slug, repository.name, status, tuple(found), reason, known=True)
            return Receipt(context.tenant_slug, repository.name, row.status, tuple(row.environments), row.reason, known=True)
        if push is None and delivery.event == "ping":
            work.record("webhook.pinged", "repository", repository.name, delivery=delivery.delivery_id)
        elif push is not None and found:
            work.record("push.received", "repository", repository.name, before=push.before, after=push.after,
                        delivery=delivery.delivery_id, branch=push.branch, forced=push.forced, environments=found)
    return Receipt(context.tenant_slug, repository.name, status, tuple(found), reason)


def _touched(work: UnitOfWork, repository: Row[Any], delivery: Delivery,
             push: pushes.Push | None) -> tuple[list[str], str | None]:
    """The environments to look at, or why there is none."""
    if push is None:
        return [], "ping" if delivery.event == "ping" else "no branch was pushed to"
    places = [pushes.Place(row.slug, row.branch or repository.branch, row.folder or "") for row in work.fleet.environments()
              if row.repository_id == repository.id]
    found = pushes.touched(push, places)
    if found:
        return found, None
    if any(place.branch == push.branch for place in places):
        return [], "it changed nothing in a folder that is read"
    return [], "no environment reads this branch"
