"""Listings: complete, or an error; the next page comes while one is handled (§3)."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import threading
from typing import Any

import pytest

from wfops_pipelines.domain.errors import IncompleteRead, NotN8n, OutsideError, Unreachable
from wfops_pipelines.n8n.adapter import N8nProvider
from wfops_pipelines.n8n.provider import Connection, KnownPage, WorkflowPage
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Reset, Script, http


def cursor(offset: int, limit: int = 2) -> str:
    return base64.b64encode(json.dumps({"limit": limit, "offset": offset}).encode()).decode()


def page(first: int, count: int, following: Any = ...) -> dict[str, Any]:
    following = cursor(first + count) if following is ... else following
    return {"data": [{"id": f"id{number}"} for number in range(first, first + count)], "nextCursor": following}


def pages(*answers: Any) -> Script:
    """The first page, then those that follow, by their order; JSON, or the bytes of an answer."""
    ready = {"": 0}
    left = list(answers)

    def script(request: Request) -> bytes:
        asked = request.query.get("cursor", "")
        index = ready.setdefault(asked, len(ready))
        answer = left[min(index, len(left) - 1)]
        if isinstance(answer, type):
            raise answer
        return answer if isinstance(answer, bytes) else http(200, answer)

    return script


def collect(url: str, *, page_size: int = 250, attempts: int = 1) -> tuple[list[WorkflowPage], OutsideError | None]:
    """The pages that came, and the error that ended the listing if one did."""
    async def run() -> tuple[list[WorkflowPage], OutsideError | None]:
        provider, got = N8nProvider(Connection(url, "key", attempts=attempts)), []
        try:
            async for one in provider.list_workflows(page_size=page_size):
                got.append(one)
        except OutsideError as error:
            return got, error
        finally:
            await provider.aclose()
        return got, None

    return asyncio.run(run())


def ids(found: list[WorkflowPage]) -> list[str]:
    return [workflow["id"] for one in found for workflow in one.workflows]


def test_pages_are_followed_to_the_last() -> None:
    with HostileServer(pages(page(0, 2), page(2, 2), page(4, 1, None))) as server:
        found, error = collect(server.url, page_size=2)
    assert error is None
    assert ids(found) == ["id0", "id1", "id2", "id3", "id4"]
    assert [one.last for one in found] == [False, False, True]
    assert [request.query.get("limit") for request in server.requests] == ["2", "2", "2"]


@pytest.mark.parametrize("cursor_of_next", [None, "on"])
def test_a_page_with_more_than_was_asked_for_is_none_of_n8ns(cursor_of_next: str | None) -> None:
    with HostileServer(pages(page(0, 3, cursor_of_next))) as server:
        found, error = collect(server.url, page_size=2)
    assert found == []
    assert isinstance(error, NotN8n) and "3 items where at most 2 were asked for" in str(error)
    with HostileServer(pages(page(0, 2), page(2, 3, cursor_of_next))) as server:
        found, error = collect(server.url, page_size=2)
    assert ids(found) == ["id0", "id1"]
    assert isinstance(error, IncompleteRead) and "3 items where at most 2 were asked for" in str(error)


def test_a_look_takes_no_more_than_the_one_workflow_that_it_asked_for() -> None:
    async def look(url: str) -> None:
        provider = N8nProvider(Connection(url, "key", attempts=1))
        try:
            await provider.answers()
        finally:
            await provider.aclose()

    with HostileServer(pages(page(0, 1))) as server:
        asyncio.run(look(server.url))
    with HostileServer(pages(page(0, 2))) as server, pytest.raises(NotN8n, match="2 items"):
        asyncio.run(look(server.url))


def test_an_empty_server_gives_one_empty_last_page() -> None:
    with HostileServer(pages(page(0, 0, None))) as server:
        found, error = collect(server.url)
    assert error is None
    assert [(list(one.workflows), one.last) for one in found] == [([], True)]


def test_received_bytes_are_those_on_the_wire() -> None:
    body = gzip.compress(json.dumps(page(0, 200, None)).encode())
    with HostileServer(pages(http(200, body, content_encoding="gzip"))) as server:
        found, _ = collect(server.url)
    assert found[0].received_bytes == len(body)
    assert len(found[0].workflows) == 200


def test_a_malformed_workflow_does_not_stop_the_others() -> None:
    with HostileServer(pages({"data": [{"id": "a"}, None, 3, {"name": "no id"}], "nextCursor": None})) as server:
        found, error = collect(server.url)
    assert error is None
    assert list(found[0].workflows) == [{"id": "a"}, None, 3, {"name": "no id"}]


@pytest.mark.parametrize("answer", [{"hello": "world"}, [], "<title>Sign in</title>", 7])
def test_a_first_page_that_is_none_of_n8ns(answer: Any) -> None:
    with HostileServer(pages(http(200, answer))) as server:
        found, error = collect(server.url)
    assert found == []
    assert isinstance(error, NotN8n)


def test_a_server_without_such_a_listing_is_none() -> None:
    with HostileServer(lambda _: http(404, {"detail": "Not Found"})) as server:
        _, error = collect(server.url)
    assert isinstance(error, NotN8n)


ODD_PAGES = [
    {"nextCursor": None}, {"data": None, "nextCursor": None}, {"data": {}, "nextCursor": None}, {"data": []},
    {"data": [], "nextCursor": 7}, {"data": [], "nextCursor": ""}, {"data": [], "nextCursor": False}, [],
    {"data": [], "nextCursor": "\ud800"}, {"data": [], "nextCursor": "a\x00"},
    http(200, "<title>Sign in</title>"), http(200, b'{"data": [', close=True),
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"data\": [",
]


@pytest.mark.parametrize("odd", ODD_PAGES)
def test_a_listing_that_breaks_in_the_middle_is_incomplete(odd: Any) -> None:
    with HostileServer(pages(page(0, 2), odd)) as server:
        found, error = collect(server.url)
    assert ids(found) == ["id0", "id1"]
    assert not found[-1].last
    assert isinstance(error, IncompleteRead)


@pytest.mark.parametrize("odd", ODD_PAGES[1:7])
def test_a_first_page_that_does_not_say_whether_it_is_all_is_incomplete(odd: Any) -> None:
    with HostileServer(pages(odd)) as server:
        found, error = collect(server.url)
    assert found == []
    assert isinstance(error, IncompleteRead)


@pytest.mark.parametrize("failure", [http(503), Reset])
def test_a_server_that_goes_away_in_the_middle_raises(failure: Any) -> None:
    with HostileServer(pages(page(0, 2), failure)) as server:
        found, error = collect(server.url)
    assert ids(found) == ["id0", "id1"]
    assert isinstance(error, Unreachable)


def test_a_cursor_that_comes_back_ends_the_listing_with_an_error() -> None:
    with HostileServer(pages(page(0, 2, "one"), page(2, 2, "two"), page(4, 2, "one"))) as server:
        _, error = collect(server.url)
    assert isinstance(error, IncompleteRead)
    assert "circles" in str(error)


def test_a_listing_without_end_or_news_ends_with_an_error() -> None:
    def script(request: Request) -> bytes:
        return http(200, page(0, 2, f"cursor {len(server.requests)}"))

    with HostileServer(script) as server:
        _, error = collect(server.url)
    assert isinstance(error, IncompleteRead)
    assert len(server.requests) < 20


def test_rows_that_shift_while_people_work_are_no_circle() -> None:
    with HostileServer(pages(page(0, 2), page(1, 2, "a"), page(1, 2, "b"), page(3, 1, None))) as server:
        found, error = collect(server.url)
    assert error is None
    assert ids(found) == ["id0", "id1", "id1", "id2", "id1", "id2", "id3"]


def test_the_next_page_is_fetched_while_one_is_handled_and_no_further() -> None:
    async def run(url: str) -> int:
        provider = N8nProvider(Connection(url, "key"))
        listing = provider.list_workflows()
        first = await anext(listing)
        assert await asyncio.to_thread(second_asked.wait, 30)
        assert ids([first]) == ["id0", "id1"]
        await listing.aclose()
        await provider.aclose()
        return len(server.requests)

    second_asked = threading.Event()
    answer = pages(page(0, 2), page(2, 2), page(4, 1, None))

    def script(request: Request) -> bytes:
        if "cursor" in request.query:
            second_asked.set()
        return answer(request)

    with HostileServer(script) as server:
        assert asyncio.run(run(server.url)) == 2


def test_a_failed_prefetch_is_raised_only_when_its_page_is_asked_for() -> None:
    async def run(url: str) -> None:
        provider = N8nProvider(Connection(url, "key", attempts=1))
        listing = provider.list_workflows()
        assert len((await anext(listing)).workflows) == 2
        assert await asyncio.to_thread(second_asked.wait, 30)
        with pytest.raises(Unreachable):
            await anext(listing)
        with pytest.raises(StopAsyncIteration):
            await anext(listing)
        await provider.aclose()

    second_asked = threading.Event()

    def script(request: Request) -> bytes:
        if "cursor" in request.query:
            second_asked.set()
            raise Reset
        return http(200, page(0, 2))

    with HostileServer(script) as server:
        asyncio.run(run(server.url))


@pytest.mark.parametrize("outcome", ["hangs", "fails"])
def test_leaving_early_cancels_the_fetch_under_way(outcome: str) -> None:
    complaints: list[Any] = []
    release, asked = threading.Event(), threading.Event()

    def script(request: Request) -> bytes:
        if "cursor" not in request.query:
            return http(200, page(0, 2))
        asked.set()
        if outcome == "fails":
            raise Reset
        release.wait(30)
        return http(200, page(2, 1, None))

    async def run(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        provider = N8nProvider(Connection(url, "key", attempts=1))
        async for _ in provider.list_workflows():
            await asyncio.to_thread(asked.wait, 30)
            break
        await provider.aclose()

    with HostileServer(script) as server:
        asyncio.run(run(server.url))
        release.set()
    gc.collect()
    assert complaints == []


def test_a_consumer_that_fails_is_not_hidden_by_the_listing() -> None:
    async def run(url: str) -> None:
        provider = N8nProvider(Connection(url, "key"))
        async for _ in provider.list_workflows():
            raise ZeroDivisionError

    with HostileServer(pages(page(0, 2), page(2, 1, None))) as server, pytest.raises(ZeroDivisionError):
        asyncio.run(run(server.url))


# -- looks: is it still the listing that was read? -------------------------------------------------------------------------


def still(url: str, known: list[KnownPage]) -> bool:
    async def run() -> bool:
        provider = N8nProvider(Connection(url, "key", attempts=1))
        try:
            return await provider.still_lists(known, page_size=2)
        finally:
            await provider.aclose()

    return asyncio.run(run())


def known(*answers: Any) -> list[KnownPage]:
    with HostileServer(pages(*answers)) as server:
        found, error = collect(server.url, page_size=2)
    assert error is None
    return [one.known_as for one in found]


WHOLE = (page(0, 2), page(2, 2), page(4, 1, None))


def test_a_listing_of_the_same_bytes_is_the_one_that_was_read() -> None:
    with HostileServer(pages(*WHOLE)) as server:
        assert still(server.url, known(*WHOLE))


@pytest.mark.parametrize("other", [
    (page(0, 2), page(2, 2), page(4, 2, None)), (page(0, 2), page(3, 2), page(4, 1, None)), (page(0, 2), page(2, 2, None)),
    (page(0, 2), page(2, 2), page(4, 1)), ({"data": [], "nextCursor": None},)], ids=range(5))
def test_any_other_byte_makes_it_another_one(other: Any) -> None:
    with HostileServer(pages(*other)) as server:
        assert not still(server.url, known(*WHOLE))


@pytest.mark.parametrize("odd", [http(503, {}), http(401, {"message": "unauthorized"}), b"nonsense"], ids=["away", "key", "odd"])
def test_a_look_that_is_not_answered_raises(odd: Any) -> None:
    with HostileServer(pages(page(0, 2), odd)) as server, pytest.raises(OutsideError):
        still(server.url, known(*WHOLE))


def test_a_page_that_is_cut_off_is_no_known_one() -> None:
    whole = http(200, page(2, 2))
    with HostileServer(pages(page(0, 2), whole[:-5])) as server, pytest.raises(IncompleteRead):
        still(server.url, known(*WHOLE))
