"""Page by page through a listing of n8n's API, so that a cut-off one is never taken for a complete one (§3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from wfops_pipelines.domain.errors import IncompleteRead, NotFound, NotN8n
from wfops_pipelines.n8n.answers import Asked, object_of
from wfops_pipelines.n8n.client import N8nClient

#: Offset pages shift while people work, so that one may repeat what was seen; so many in a row are a loop.
_PAGES_WITHOUT_NEWS = 10


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its items as n8n sent them, the bytes received for it, and the cursor of the next, none on the last."""

    items: list[dict[str, Any]]
    received_bytes: int
    cursor: str | None


class _Progress:
    """Notices a listing that runs in circles: a cursor that comes back, or page after page without anything new."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._cursors: set[str] = set()
        self._ids: set[int] = set()
        self._stale = 0

    def check(self, page: Page) -> None:
        if page.cursor is None:
            return
        known = len(self._ids)
        self._ids.update(hash(str(item.get("id") if isinstance(item, dict) else item)) for item in page.items)
        self._stale = 0 if len(self._ids) > known else self._stale + 1
        if page.cursor in self._cursors or self._stale >= _PAGES_WITHOUT_NEWS:
            raise IncompleteRead(f"{self._asked.what} lists in circles: it never comes to an end",
                                 target=self._asked.target)
        self._cursors.add(page.cursor)


async def fetch_page(client: N8nClient, operation: str, path: str, params: Mapping[str, Any], *,
                     first: bool = True, attempts: int | None = None) -> Page:
    """One page. What is none raises: :class:`NotN8n` as the first, :class:`IncompleteRead` within a listing."""
    asked = client.asked("GET", path)
    try:
        answer = await client.call(operation, "GET", path, params=params, attempts=attempts)
    except NotFound as error:  # every n8n has its listings
        raise NotN8n(f"{asked.what} is not there (404)", target=asked.target, status=404,
                     fix="is this the address of an n8n, with its public API switched on?") from error
    try:
        value = object_of(answer, asked)
    except NotN8n as error:
        if first:
            raise
        raise IncompleteRead(f"{asked.what}: a page in the middle is none of n8n's", target=asked.target) from error
    items, cursor = value.get("data"), value.get("nextCursor", ...)
    if first and "data" not in value:
        raise NotN8n(f"{asked.what} answered with JSON that is no list of n8n's", target=asked.target,
                     status=answer.status, fix="is this the address of an n8n?")
    if not isinstance(items, list):
        raise IncompleteRead(f"{asked.what}: a page without its list", target=asked.target)
    if not (cursor is None or (isinstance(cursor, str) and cursor)):
        raise IncompleteRead(f"{asked.what}: a page that does not say whether it is the last", target=asked.target)
    return Page(items, answer.received_bytes, cursor)


async def pages(client: N8nClient, operation: str, path: str, *, limit: int) -> AsyncGenerator[Page]:
    """All pages. The next one is fetched while the caller handles one; at most these two are held.

    Closing the generator (leaving its loop early) cancels the fetch under way.
    """
    progress = _Progress(client.asked("GET", path))
    page = await fetch_page(client, operation, path, {"limit": limit})
    while True:
        progress.check(page)
        if page.cursor is None:
            yield page
            return
        coming = asyncio.create_task(
            fetch_page(client, operation, path, {"limit": limit, "cursor": page.cursor}, first=False))
        try:
            yield page
            page = await coming
        finally:
            if not coming.done():
                coming.cancel()
            await asyncio.wait([coming])
            if not coming.cancelled():
                coming.exception()  # seen: a consumer that has left does not want it


async def everything(client: N8nClient, operation: str, path: str, *, limit: int = 250) -> list[dict[str, Any]]:
    """A short listing (tags, credentials) as one list."""
    return [item async for page in pages(client, operation, path, limit=limit) for item in page.items]
