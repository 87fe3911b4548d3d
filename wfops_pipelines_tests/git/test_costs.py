"""What reading costs (§7): counted, so that it holds on every machine; times are the benchmark's."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wfops_pipelines_tests.git.conftest import Remote
from wfops_pipelines_tests.git.test_reading import read_all
from wfops_pipelines_tests.servers.git_http import GitHttpServer


def requests_of(server: GitHttpServer, act: Callable[[], object]) -> list[tuple[str, str]]:
    """``(method, service)`` of the requests that something makes."""
    with server.counting() as seen:
        act()
    return [(request.method, request.path.rsplit("/", 1)[-1]) for request in seen]


FETCH = [("GET", "refs"), ("POST", "git-upload-pack")]


def test_an_unchanged_head_is_one_request(http_remote: Remote, git_server: GitHttpServer) -> None:
    http_remote.bare.commit({"a.json": b"1"})
    repository = http_remote.open()
    assert requests_of(git_server, lambda: repository.head("main")) == [("POST", "git-upload-pack")]
    assert requests_of(git_server, lambda: repository.head("absent")) == [("POST", "git-upload-pack")]


def test_the_first_read_is_two_fetches_and_a_change_is_one(http_remote: Remote, git_server: GitHttpServer) -> None:
    head = http_remote.bare.commit({f"{number}.json": b"%d" % number for number in range(200)})
    repository = http_remote.open()
    assert requests_of(git_server, lambda: read_all(repository, head)) == FETCH * 2
    assert requests_of(git_server, lambda: read_all(repository, head)) == []
    later = http_remote.bare.commit({f"{number}.json": b"new %d" % number for number in range(20)})
    assert requests_of(git_server, lambda: read_all(repository, later)) == FETCH
    assert requests_of(git_server, lambda: read_all(http_remote.open(), later)) == [], "another process finds it here"
    assert requests_of(git_server, lambda: repository.contains(later, head)) == []
    assert requests_of(git_server, lambda: repository.last_commit(later, "150.json")) == []


def test_threads_that_want_the_same_commit_fetch_it_once(http_remote: Remote, git_server: GitHttpServer) -> None:
    head = http_remote.bare.commit({"a.json": b"1"})

    def together() -> None:
        threads = [threading.Thread(target=lambda: read_all(http_remote.open(), head)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert requests_of(git_server, together) == FETCH * 2


def test_a_clone_does_not_grow_a_pack_for_every_change(http_remote: Remote) -> None:
    repository = http_remote.open()
    for number in range(55):
        head = http_remote.bare.commit({"a.json": b"%d" % number, f"{number}.json": b"x"})
        repository.tree(head, "")
    packs = list(http_remote.cache.glob("*/clone.git/objects/pack/*.pack"))
    assert len(packs) < 50
    kept = list(http_remote.cache.glob("*/clone.git/refs/wfops/fetched/*"))
    assert len(kept) <= 33
    assert len(read_all(repository, head)) == 56
