"""GitHub (§7): conditional heads, commits by the API, pull requests, limits, apps."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from wfops_pipelines.domain.errors import (
    HeadMoved,
    NotFound,
    OutsideError,
    Refused,
    Rejected,
    Unreachable,
    UsageError,
)
from wfops_pipelines.git.github import GitHubRepository, open_github
from wfops_pipelines.git.github_calls import ATTEMPTS
from wfops_pipelines.git.repository import GitHubApp, PullRequest, PullRequestState
from wfops_pipelines_tests.git.conftest import BY, TOKEN, Remote, within
from wfops_pipelines_tests.git.test_reading import read_all
from wfops_pipelines_tests.servers.github import GitHubServer


@pytest.fixture
def naps() -> list[float]:
    """How long the repository wanted to wait, in place of waiting."""
    return []


@pytest.fixture
def repository(github_remote: Remote, naps: list[float]) -> Iterator[GitHubRepository]:
    opened = open_github(github_remote.source, cache=github_remote.cache, sleep=naps.append)
    yield opened
    opened.close()


def request_changes(repository: GitHubRepository, head: str, changes: dict[str, bytes | None], *,
                    title: str = "Export prod", body: str = "The diff") -> PullRequest:
    """A pull request from ``wfops/export`` into ``main``."""
    return repository.open_pull_request("main", expected_head=head, branch="wfops/export", changes=changes, title=title,
                                        body=body, message="Export", **BY)


def test_an_unchanged_head_is_one_conditional_request_even_for_a_new_process(
        github_remote: Remote, github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    assert github_remote.open().head("main") == head
    used = github_server.used
    for _ in range(3):
        assert github_remote.open().head("main") == head
    assert github_server.calls()[1:] == [("GET", "/repos/acme/flows/git/ref/heads/main", 304)] * 3
    assert github_server.used == used, "a 304 is free"


def test_a_lost_or_broken_note_of_the_head_costs_one_full_request(github_remote: Remote) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    github_remote.open().head("main")
    note = next(github_remote.cache.glob("*/heads.json"))
    for text in ("", "[]", '{"main": 1}', '{"main": ["x"]}', "\0"):
        note.write_text(text)
        assert github_remote.open().head("main") == head


def test_contents_cost_no_api_call(github_remote: Remote, github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({f"{number}.json": b"%d" % number for number in range(50)})
    repository = github_remote.open()
    assert len(read_all(repository, head)) == 50
    assert repository.contains(head, head)
    assert repository.last_commit(head, "1.json")
    assert github_server.calls() == []


def test_a_commit_is_five_calls_and_never_forced(github_remote: Remote, github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1", "b.json": b"2"})
    github_remote.open().commit("main", expected_head=head, message="x", changes={
        f"dev/{number}.json": b"{}" for number in range(20)} | {"b.json": None}, **BY)
    assert [call[:2] for call in github_server.calls()] == [
        ("GET", "/repos/acme/flows/git/ref/heads/main"), ("GET", f"/repos/acme/flows/git/commits/{head}"),
        ("POST", "/repos/acme/flows/git/trees"), ("POST", "/repos/acme/flows/git/commits"),
        ("PATCH", "/repos/acme/flows/git/refs/heads/main")]
    assert github_server.exchanges[-1].sent["force"] is False


def test_a_head_that_moves_between_reading_and_writing(github_remote: Remote, github_server: GitHubServer,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    repository = github_remote.open()
    reached: list[str] = []

    def somebody_is_faster(name: str) -> None:
        if name == "git.push.before":
            reached.append(github_remote.bare.commit({"a.json": b"theirs"}))

    monkeypatch.setattr("wfops_pipelines.failpoints.reach", somebody_is_faster)
    with pytest.raises(HeadMoved):
        repository.commit("main", expected_head=head, changes={"a.json": b"ours"}, message="x", **BY)
    assert github_server.calls()[-2][0::2] == ("PATCH", 422)
    assert [github_remote.bare.head()] == reached


def test_a_protected_branch_says_so(github_remote: Remote, github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    github_server.state.protected.add("main")
    with pytest.raises(Rejected, match="pull request"):
        github_remote.open().commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    assert github_remote.bare.head() == head


def test_a_token_that_is_refused(github_remote: Remote) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    wrong = replace(github_remote, source=replace(github_remote.source, secret="wrong-t0ken")).open()
    with pytest.raises(Refused) as caught:
        wrong.head("main")
    assert caught.value.fix
    with pytest.raises(Refused):
        wrong.tree(head, "")
    reader = replace(github_remote, source=replace(github_remote.source, secret="read-only")).open()
    assert read_all(reader, head) == {"a.json": b"1"}
    with pytest.raises(Refused):
        reader.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    nobody = replace(github_remote, source=replace(github_remote.source, secret=None)).open()
    with pytest.raises(NotFound):  # GitHub does not tell strangers what is there
        nobody.head("main")


def test_a_secondary_limit_is_waited_for(repository: GitHubRepository, github_remote: Remote,
                                         github_server: GitHubServer, naps: list[float]) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.secondary_limits, github_server.faults.retry_after = 2, 7
    assert repository.head("main") == head
    assert naps == [7, 7]


def test_a_limit_that_does_not_lift_is_given_up(repository: GitHubRepository, github_remote: Remote,
                                                github_server: GitHubServer, naps: list[float]) -> None:
    github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.secondary_limits = 100
    with pytest.raises(Unreachable) as caught:
        repository.head("main")
    assert caught.value.transient
    assert len(github_server.calls()) == ATTEMPTS
    assert len(naps) == ATTEMPTS - 1


def test_nobody_waits_an_hour_for_the_rate_limit(repository: GitHubRepository, github_remote: Remote,
                                                 github_server: GitHubServer, naps: list[float]) -> None:
    github_remote.bare.commit({"a.json": b"1"})
    github_server.limit = 0
    with pytest.raises(Unreachable, match=r"rate limit.*try again in 3\d\d\d s"):
        repository.head("main")
    assert naps == []


def test_nobody_waits_for_a_limit_beyond_the_time_that_calls_have(
        repository: GitHubRepository, github_remote: Remote, github_server: GitHubServer, naps: list[float]) -> None:
    github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.secondary_limits, github_server.faults.retry_after = 1, 45
    with pytest.raises(Unreachable, match="try again in 45 s"):
        within(30, lambda: repository.head("main"))
    assert naps == []


def test_a_server_error_is_tried_again(repository: GitHubRepository, github_remote: Remote, github_server: GitHubServer,
                                       naps: list[float]) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.statuses = [502, 500]
    assert repository.head("main") == head
    assert len(naps) == 2
    github_server.faults.statuses = [503] * 10
    with pytest.raises(Unreachable):
        repository.head("main")


def test_an_answer_that_never_arrives_is_asked_for_again(repository: GitHubRepository, github_remote: Remote,
                                                         github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.drop_after_writing = 3
    made = repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    assert github_remote.bare.head() == made
    assert github_remote.bare.text("rev-list", "--count", "main") == "2"


def test_something_that_is_not_github(repository: GitHubRepository, github_remote: Remote, github_server: GitHubServer,
                                      ) -> None:
    github_remote.bare.commit({"a.json": b"1"})
    github_server.faults.html = True
    with pytest.raises(OutsideError, match="api_url"):
        repository.head("main")


def test_a_pull_request_shows_the_changes_and_leaves_the_base_alone(
        repository: GitHubRepository, github_remote: Remote, github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1", "b.json": b"2"})
    pull = request_changes(repository, head, {"a.json": b"new", "b.json": None})
    assert (pull.number, pull.branch) == (1, "wfops/export")
    assert pull.url.endswith("/acme/flows/pull/1")
    assert github_remote.bare.head() == head
    assert github_remote.bare.files("wfops/export") == {"a.json": b"new"}
    assert github_server.state.pulls["acme/flows"][0]["title"] == "Export prod"


def test_a_second_call_updates_the_pull_request(repository: GitHubRepository, github_remote: Remote,
                                                github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    first = request_changes(repository, head, {"a.json": b"2", "old.json": b"old"})
    tip = github_remote.bare.head("wfops/export")
    assert request_changes(repository, head, {"a.json": b"2", "old.json": b"old"}) == first
    assert github_remote.bare.head("wfops/export") == tip, "the same changes need no second commit"
    assert request_changes(repository, head, {"a.json": b"3"}, title="Export again", body="More") == first
    assert github_remote.bare.files("wfops/export") == {"a.json": b"3"}
    assert github_remote.bare.text("rev-list", "--count", "wfops/export") == "3"
    (pull,) = github_server.state.pulls["acme/flows"]
    assert (pull["title"], pull["body"]) == ("Export again", "More")


def test_a_pull_request_still_shows_just_its_changes_after_its_base_went_on(repository: GitHubRepository,
                                                                           github_remote: Remote) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    request_changes(repository, head, {"a.json": b"2"})
    with pytest.raises(HeadMoved):
        github_remote.bare.commit({"b.json": b"new on main"})
        request_changes(repository, head, {"a.json": b"3"})
    later = github_remote.bare.head()
    assert later
    request_changes(repository, later, {"a.json": b"3"})
    assert github_remote.bare.text("diff", "--name-only", "main...wfops/export") == "a.json"
    assert github_remote.bare.files("wfops/export") == {"a.json": b"3", "b.json": b"new on main"}


def test_after_a_merge_the_branch_is_used_again(repository: GitHubRepository, github_remote: Remote,
                                                github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    request_changes(repository, head, {"a.json": b"2"})
    github_remote.bare.git("update-ref", "refs/heads/main", "refs/heads/wfops/export")
    github_server.state.pulls["acme/flows"][0]["state"] = "closed"
    later = github_remote.bare.commit({"b.json": b"2"})
    assert request_changes(repository, later, {"a.json": b"3"}).number == 2
    assert github_remote.bare.text("log", "-1", "--format=%P", "wfops/export") == later


def test_what_became_of_a_pull_request_is_asked_by_its_address(repository: GitHubRepository, github_remote: Remote,
                                                              github_server: GitHubServer) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    url = request_changes(repository, head, {"a.json": b"2"}).url
    assert repository.pull_request_state(url) is PullRequestState.OPEN
    repository.close_pull_request(url)
    assert repository.pull_request_state(url) is PullRequestState.CLOSED
    repository.close_pull_request(url)  # a second time there is nothing to do
    github_server.state.pulls["acme/flows"][0]["merged"] = True
    assert repository.pull_request_state(url) is PullRequestState.MERGED
    for other in (f"{url}9", url.replace("/acme/", "/others/"), "https://example.com/"):
        assert repository.pull_request_state(other) is PullRequestState.CLOSED
        repository.close_pull_request(other)


def test_a_pull_request_without_changes_or_into_itself_is_refused(repository: GitHubRepository,
                                                                  github_remote: Remote) -> None:
    head = github_remote.bare.commit({"a.json": b"1"})
    with pytest.raises(UsageError, match="nothing differs"):
        request_changes(repository, head, {"a.json": b"1"})
    with pytest.raises(UsageError):
        repository.open_pull_request("main", expected_head=head, branch="main", changes={"a": b""}, title="t", body="b",
                                     message="m", **BY)
    assert github_remote.bare.head("wfops/export") is None


def test_a_github_app_acts_with_the_token_of_its_installation(github_server: GitHubServer, github_remote: Remote) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    github_server.apps[42] = TOKEN
    app = replace(github_remote.source, secret=None, github_app=GitHubApp(7, 42, key.decode()))
    repository = open_github(app, cache=github_remote.cache)
    head = github_remote.bare.commit({"a.json": b"1"})
    assert read_all(repository, head) == {"a.json": b"1"}  # git alone has to ask for the token
    assert repository.head("main") == head
    made = repository.commit("main", expected_head=head, changes={"a.json": b"2"}, message="x", **BY)
    assert github_remote.bare.head() == made
    assert [call[1] for call in github_server.calls()].count("/app/installations/42/access_tokens") == 1
    stranger = replace(app, github_app=GitHubApp(7, 43, key.decode()))
    with pytest.raises(NotFound):
        open_github(stranger, cache=github_remote.cache).tree("a" * 40, "")


def test_an_app_key_with_wrong_numbers_is_said_when_it_is_to_sign(github_remote: Remote, github_server: GitHubServer) -> None:
    whole = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    middle = len(whole) // 2  # a number's, and none of the frame around it
    spoiled = base64.encodebytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]).decode()
    key = f"-----BEGIN RSA PRIVATE KEY-----\n{spoiled}-----END RSA PRIVATE KEY-----\n"
    repository = open_github(replace(github_remote.source, secret=None, github_app=GitHubApp(7, 42, key)),
                             cache=github_remote.cache)
    for ask in (lambda: repository.head("main"), lambda: repository.tree("a" * 40, "")):
        with pytest.raises(UsageError, match=r"github_app\.private_key is no RSA key"):
            ask()
    assert github_server.calls() == []


def test_the_cache_of_one_repository_is_not_anothers(github_server: GitHubServer, github_remote: Remote) -> None:
    other = github_server.make("other/flows")
    first, second = github_remote.bare.commit({"a.json": b"1"}), other.commit({"a.json": b"2"})
    source = replace(github_remote.source, url=f"{github_server.url}/other/flows")
    assert github_remote.open().head("main") == first
    assert replace(github_remote, source=source).open().head("main") == second
