"""Page by page through a listing of n8n's API, so that a cut-off one is never taken for a complete one (§3)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfops_pipelines.domain.errors import IncompleteRead, NotFound, NotN8n
from wfops_pipelines.n8n.answers import Answer, Asked, object_of
from wfops_pipelines.n8n.client import Digested, N8nClient
from wfops_pipelines.n8n.provider import KnownPage

_CURSOR = re.compile(r"[\x21-\x7e]{1,8000}")  # what fits into an address
#: Offset pages shift while people work, so that one may repeat what was seen; so many in a row are a loop.
_PAGES_WITHOUT_NEWS = 10


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its items as n8n sent them, the bytes received for it, their digest, and the cursor of the next page, none
    on the last."""

    items: list[dict[str, Any]]
    received_bytes: int
    digest: str
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
        self._ids.update(hash(_id_of(item)) for item in page.items)
        self._stale = 0 if len(self._ids) > known else self._stale + 1
        if page.cursor in self._cursors or self._stale >= _PAGES_WITHOUT_NEWS:
            raise IncompleteRead(f"{self._asked.what} lists in circles: it never comes to an end",
                                 target=self._asked.target)
        self._cursors.add(page.cursor)


def _id_of(item: Any) -> str:
    """The id of an entry; for one that has none, whether it has been seen before does not matter."""
    found = item.get("id") if isinstance(item, dict) else None
    return str(found) if isinstance(found, str | int) else ""


async def fetch_page(client: N8nClient, operation: str, path: str, params: Mapping[str, Any], *,
                     first: bool = True, attempts: int | None = None) -> Page:
    """One page of at most ``params["limit"]`` items. What is none raises: :class:`NotN8n` as the first,
    :class:`IncompleteRead` within a listing."""
    answer = await _ask(client, operation, path, params, attempts)
    return await asyncio.to_thread(_read_page, answer, client.asked("GET", path), first, int(params["limit"]))


async def _ask(client: N8nClient, operation: str, path: str, params: Mapping[str, Any],
               attempts: int | None = None) -> Answer:
    try:
        return await client.call(operation, "GET", path, params=params, attempts=attempts, digested=Digested.BESIDE)
    except NotFound as error:  # every n8n has its listings
        asked = client.asked("GET", path)
        raise NotN8n(f"{asked.what} is not there (404)", target=asked.target, status=404,
                     fix="is this the address of an n8n, with its public API switched on?") from error


def _read_page(answer: Answer, asked: Asked, first: bool, limit: int) -> Page:
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
    if len(items) > limit:  # no n8n does that; whoever works on a page relies on its size
        message = f"{asked.what} answered with {len(items):,} items where at most {limit} were asked for"
        if first:
            raise NotN8n(message, target=asked.target, status=answer.status, fix="is this the address of an n8n?")
        raise IncompleteRead(message, target=asked.target)
    if not (cursor is None or (isinstance(cursor, str) and _CURSOR.fullmatch(cursor))):
        raise IncompleteRead(f"{asked.what}: a page that does not say whether it is the last", target=asked.target)
    return Page(items, answer.received_bytes, answer.digest, cursor)


#: How n8n ends a page. It is only taken as a hint: the page says itself what its cursor is.
_END = re.compile(rb'"nextCursor":"([A-Za-z0-9+/=_-]+)"\}\s*\Z')


@dataclass(frozen=True, slots=True)
class _Listing:
    """What is listed, and from where."""

    client: N8nClient
    operation: str
    path: str
    limit: int

    @property
    def asked(self) -> Asked:
        return self.client.asked("GET", self.path)


class _Coming:
    """A page that was asked for, and the one after it when nobody would be kept busy by reading this one first.

    Reading a page takes as long as some requests: while the caller still handles the page before, it is read at once;
    a caller that waits has the next one asked for before.
    """

    def __init__(self, listing: _Listing, cursor: str | None) -> None:
        self.cursor = cursor
        self._listing = listing
        self._following: _Coming | None = None
        self._waited_for = False
        self._task = asyncio.create_task(self._get())

    async def _get(self) -> Page:
        listing = self._listing
        answer = await _ask(listing.client, listing.operation, listing.path, _params(listing.limit, self.cursor))
        if self._waited_for and (end := _END.search(answer.body, max(0, len(answer.body) - 1000))):
            self._following = _Coming(listing, end[1].decode())
        return await asyncio.to_thread(_read_page, answer, listing.asked, self.cursor is None, listing.limit)

    async def page(self) -> Page:
        """The page, when it is there and read."""
        self._waited_for = True
        return await self._task

    async def next(self, cursor: str) -> _Coming:
        """The page after this one, on its way."""
        if self._following is not None and self._following.cursor == cursor:
            return self._following
        await self.forget_following()
        return _Coming(self._listing, cursor)

    async def forget_following(self) -> None:
        """Nobody wants what was asked for ahead."""
        if self._following is not None:
            await self._following.forget()

    async def forget(self) -> None:
        """Nobody wants this page any more, nor what follows."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # seen
        await self.forget_following()


async def pages(client: N8nClient, operation: str, path: str, *, limit: int) -> AsyncGenerator[Page]:
    """All pages. The next one is fetched while the caller handles one; at most these two are held.

    Closing the generator (leaving its loop early) cancels the fetch under way.
    """
    listing = _Listing(client, operation, path, limit)
    progress = _Progress(listing.asked)
    coming = _Coming(listing, None)
    try:
        while True:
            page = await coming.page()
            progress.check(page)
            if page.cursor is None:
                await coming.forget_following()
                yield page
                return
            coming = await coming.next(page.cursor)
            yield page
    finally:
        await coming.forget()


async def still_lists(client: N8nClient, operation: str, path: str, known: Sequence[KnownPage], *, limit: int) -> bool:
    """Whether a listing is, byte for byte, the one whose pages are ``known``, which was whole. Nothing of it is taken apart
    or kept; the first page that differs ends it."""
    cursor: str | None = None
    for page in known:
        answer = await client.call(operation, "GET", path, params=_params(limit, cursor), digested=Digested.ONLY)
        if answer.digest != page.digest:
            return False
        cursor = page.cursor
    return bool(known) and cursor is None


def _params(limit: int, cursor: str | None) -> dict[str, Any]:
    return {"limit": limit} if cursor is None else {"limit": limit, "cursor": cursor}


async def everything(client: N8nClient, operation: str, path: str, *, limit: int = 250) -> list[dict[str, Any]]:
    """A short listing (tags, credentials) as one list."""
    return [item async for page in pages(client, operation, path, limit=limit) for item in page.items]
