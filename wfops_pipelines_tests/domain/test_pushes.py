"""Pushes: what deliveries say, whom they touch, and when branches are looked at."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote, quote_plus, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain import pushes
from wfops_pipelines.domain.errors import MalformedDelivery
from wfops_pipelines.domain.pushes import Asked, Partition, Place, Push, RefreshRun

RECORDED = json.loads((Path(__file__).parents[1] / "api" / "github_payloads.json").read_text())
A, B, NONE = "a" * 40, "b" * 40, "0" * 40
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
names = st.text(min_size=1, max_size=60)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
intervals = st.floats(10, 3600)


def pushed(*commits: Any, **changes: Any) -> dict[str, Any]:
    return {"ref": "refs/heads/main", "before": A, "after": B, "created": False, "deleted": False, "forced": False,
            "commits": list(commits), **changes}


def commit(**lists: list[str]) -> dict[str, Any]:
    return {"id": B, "added": [], "removed": [], "modified": [], **lists}


# -- who sent it ---------------------------------------------------------------------------------------------------------


def test_the_signature_is_that_of_githubs_own_example() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert pushes.signature_of("It's a Secret to Everybody", b"Hello, World!") == signature
    assert pushes.is_signed("It's a Secret to Everybody", b"Hello, World!", signature)


@pytest.mark.parametrize("signature", [
    "", "sha256=", "sha1=757107ea0eb2509fc211221cce984b8a37570b6d", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    "sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17", "sha256=" + "0" * 64, "sha256=" + "é" * 64,
    "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17\n"])
def test_any_other_signature_is_none(signature: str) -> None:
    assert not pushes.is_signed("It's a Secret to Everybody", b"Hello, World!", signature)


@given(st.binary())
def test_an_empty_secret_signs_for_nobody(body: bytes) -> None:
    assert not pushes.is_signed("", body, pushes.signature_of("", body))


@given(st.text(min_size=1), st.binary(), st.integers(0, 10_000), st.integers(1, 255))
def test_one_changed_byte_is_another_signature(secret: str, body: bytes, at: int, by: int) -> None:
    secret = secret.encode("utf-8", "replace").decode()
    signature = pushes.signature_of(secret, body)
    assert pushes.is_signed(secret, body, signature)
    if body:
        at %= len(body)
        changed = body[:at] + bytes([(body[at] + by) % 256]) + body[at + 1:]
        assert not pushes.is_signed(secret, changed, signature)


@pytest.mark.parametrize("url", [
    "https://github.com/Acme/Flows", "https://github.com/acme/flows.git", "https://github.com/acme/flows/",
    "https://user@github.com:443/acme/flows.git", "git@github.com:acme/flows.git", "ssh://git@github.com/acme/flows.git",
    "ssh://git@github.com:22/acme/flows", "git://github.com/acme/flows.git", "http://github.com:80/acme/flows", "acme/flows",
    "ssh://git@ssh.github.com:443/Acme/flows.git", "git@SSH.github.com:acme/flows.git"])
def test_every_way_to_write_a_repositorys_address_has_one_key(url: str) -> None:
    assert pushes.remote_key(url) == "github.com/acme/flows"


@pytest.mark.parametrize("url", ["/srv/git/acme.git", "file:///srv/git/acme.git", "https://", "https://host:port/x/y", ""])
def test_a_place_on_a_disk_and_what_is_no_address_have_none(url: str) -> None:
    assert pushes.remote_key(url) is None


def test_a_body_names_its_repository_without_being_parsed() -> None:
    body = json.dumps(RECORDED["new_branch"]).encode()
    assert "github.com/codertocat/hello-world" in pushes.named_remotes(body)
    assert pushes.named_remotes(body[:-1]) == pushes.named_remotes(body)  # what is cut off is no JSON, and names it still


@pytest.mark.parametrize("event", ["new_branch", "ping"])
@pytest.mark.parametrize("encode", [quote_plus, quote], ids=["plus", "percent"])
def test_a_form_names_the_same_without_being_decoded(event: str, encode: Any) -> None:
    body = json.dumps({**RECORDED[event], "repository": RECORDED["new_branch"]["repository"]}).encode()
    assert pushes.named_remotes(b"payload=" + encode(body).encode(), form=True) == pushes.named_remotes(body) != frozenset()


@pytest.mark.parametrize("form", [False, True])
def test_a_commit_message_cannot_name_a_repository(form: bool) -> None:
    document = pushed(commit(), head_commit={"message": '","clone_url":"https://github.com/acme/flows.git","x":"'})
    body = json.dumps(document).encode()
    assert pushes.named_remotes(b"payload=" + quote_plus(body).encode() if form else body, form=form) == frozenset()


def test_a_body_that_names_one_thing_again_and_again_is_not_read_to_its_end() -> None:
    again = b'"git_url":"git://h/x"' * 1000
    assert pushes.named_remotes(again + b'"git_url":"git://h/last"') == {"h/x"}
    many = b"".join(b'"git_url":"git://h/%d"' % n for n in range(1000))
    assert len(pushes.named_remotes(many)) <= 40


@pytest.mark.parametrize("body", [b"ab&" * 500_000, b"%22git_url%22" * 100_000, b"payload=" + b"%41" * 500_000 + b"&x=1"],
                         ids=["fields", "names", "escapes"])
def test_a_form_takes_little_more_memory_than_it_is_long(body: bytes) -> None:
    tracemalloc.start()
    try:
        pushes.named_remotes(body, form=True)
        with suppress(MalformedDelivery):
            pushes.form_payload(body)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(body) + 2**23
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=80), st.integers(3, 9))
def test_a_payload_that_is_decoded_in_pieces_is_the_same_as_in_one(written: bytes, piece: int) -> None:
    value = written.replace(b"&", b"%")
    with mock.patch.object(pushes, "_PIECE", piece):
        assert pushes.form_payload(b"a=1&payload=" + value + b"&b=2") == unquote_to_bytes(value.replace(b"+", b" "))
        assert pushes.form_payload(b"payload=" + quote_plus(written).encode()) == written


def test_the_payload_of_a_form_is_its_json() -> None:
    assert pushes.form_payload(b"a=1&payload=%7B%22zen%22%3A+%22a%2Bb%22%7D") == b'{"zen": "a+b"}'
    with pytest.raises(MalformedDelivery):
        pushes.form_payload(b"load=%7B%7D&payload")
    assert pushes.form_payload(b"xpayload=1&payload=2&payload=3") == b"2"


# -- what a push says ----------------------------------------------------------------------------------------------------


def test_a_recorded_push_of_a_new_branch_touches_all_of_it() -> None:
    push = pushes.read_push(RECORDED["new_branch"])
    assert push == Push("master", None, "6113728f27ae82c7b1a177c8d03f9e96e0adf246", forced=False, paths=None)


def test_a_recorded_push_of_a_tag_touches_no_branch() -> None:
    assert pushes.read_push(RECORDED["deleted_tag"]) is None


def test_what_changed_is_what_the_commits_list() -> None:
    push = pushes.read_push(pushed(commit(added=["prod/a.json"]), commit(modified=["x.md"], removed=["dev/b.json"])))
    assert push is not None and push.paths == frozenset({"prod/a.json", "x.md", "dev/b.json"})


@pytest.mark.parametrize("document", [
    pytest.param(pushed(commit(added=["x"]), forced=True), id="forced"),
    pytest.param(pushed(commit(added=["x"]), before=NONE, created=True), id="created"),
    pytest.param(pushed(after=NONE, deleted=True), id="deleted"),
    pytest.param(pushed(), id="no commits, as when a branch goes back"),
    pytest.param(pushed(*[commit(added=["x"])] * 21), id="more commits than are listed for sure"),
    pytest.param(pushed(commit(added=[f"{n}" for n in range(3000)])), id="more files than are listed for sure"),
    pytest.param(pushed({"id": B}), id="commits without lists"),
    pytest.param(pushed(commit(added=["x"]), commit()), id="a merge, of which no files are listed"),
    pytest.param(pushed(commit(added=[1])), id="lists of something else"),  # type: ignore[list-item]
    pytest.param(pushed("x"), id="commits that are none"), pytest.param(pushed(commits=None), id="no list")])
def test_where_it_is_not_known_what_changed_everything_may_have(document: dict[str, Any]) -> None:
    push = pushes.read_push(document)
    assert push is not None and push.paths is None


def test_a_deleted_branch_has_no_commit_after() -> None:
    push = pushes.read_push(pushed(after=NONE, deleted=True))
    assert push is not None and (push.before, push.after) == (A, None)


@pytest.mark.parametrize("changes", [
    {"ref": None}, {"ref": 1}, {"before": None}, {"after": "main"}, {"after": "A" * 40}, {"before": "a" * 39},
    {"ref": "refs/heads/"}, {"ref": "refs/heads/" + "x" * 501}])
def test_what_is_no_push_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedDelivery):
        pushes.read_push(pushed(**changes))


PLACES = [Place("dev", "main", "dev"), Place("prod", "main", "prod"), Place("root", "main", ""), Place("other", "stable", "prod")]


@pytest.mark.parametrize(("paths", "touched"), [
    ({"prod/workflows/a.json"}, ["prod", "root"]), ({"product/a.json"}, ["root"]), ({"dev/a", "prod/b"}, ["dev", "prod", "root"]),
    (set(), []), (None, ["dev", "prod", "root"]), ({"prod"}, ["prod", "root"])])
def test_a_push_touches_those_of_its_branch_in_whose_folder_something_changed(paths: Any, touched: list[str]) -> None:
    push = Push("main", A, B, forced=False, paths=None if paths is None else frozenset(paths))
    assert pushes.touched(push, PLACES) == touched


def test_a_push_of_a_branch_that_nobody_reads_touches_nobody() -> None:
    assert pushes.touched(Push("Main", A, B, forced=False, paths=None), PLACES) == []


# -- when a branch is looked at ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("branches", "seconds"), [(0, 60), (1, 60), (200, 60), (500, 150), (1000, 300), (5000, 300)])
def test_a_few_are_looked_at_each_minute_and_a_thousand_every_five(branches: int, seconds: float) -> None:
    assert pushes.poll_interval(branches, 60) == pytest.approx(seconds)
    assert pushes.poll_interval(branches, 600) == 600


@given(moments, names, intervals)
def test_between_two_looks_lies_half_an_interval_at_least_and_one_and_a_half_at_most(
        now: datetime, name: str, interval: float) -> None:
    wait = (pushes.next_look(now, name, interval) - now).total_seconds()
    assert interval / 2 - 0.01 <= wait <= 1.5 * interval + 0.01


@given(moments, names, intervals, st.floats(0, 0.49))
def test_looks_keep_their_place_in_the_interval_also_when_they_are_late(
        now: datetime, name: str, interval: float, late: float) -> None:
    first = pushes.next_look(now, name, interval)
    second = pushes.next_look(first + timedelta(seconds=late * interval), name, interval)
    assert (second - first).total_seconds() == pytest.approx(interval, abs=0.01)


def test_a_thousand_branches_are_spread_over_the_interval() -> None:
    waits = sorted((pushes.next_look(NOON, f"r{n}/main", 300) - NOON).total_seconds() for n in range(1000))
    fullest = max(sum(start <= wait < start + 15 for wait in waits) for start in range(150, 450, 15))
    assert fullest < 90  # fifty, if they were perfectly even


@given(moments, names, intervals, st.integers(1, 100))
def test_what_cannot_be_read_is_looked_at_later_each_time_and_never_much_later_than_half_an_hour(
        now: datetime, name: str, interval: float, failures: int) -> None:
    wait = (pushes.next_attempt(now, name, failures, interval) - now).total_seconds()
    assert 0.75 * min(interval, 1800) - 0.01 <= wait <= 1.25 * max(1800, interval) + 0.01
    if interval * 2 ** (failures + 1) < 1800:
        later = (pushes.next_attempt(now, name, failures + 2, interval) - now).total_seconds()
        assert later > wait


def asked(head: str | None, ago: float, attempts: int = 1) -> Asked:
    return Asked(head, NOON - timedelta(seconds=ago), attempts)


@pytest.mark.parametrize(("head", "commit", "gone_known", "before", "wanted"), [
    pytest.param(A, A, False, None, False, id="it stands there"),
    pytest.param(B, A, False, None, True, id="it moved"),
    pytest.param(A, None, False, None, True, id="it was never read"),
    pytest.param(B, A, False, asked(B, 30), False, id="asked for just now"),
    pytest.param(B, A, False, asked(A, 30), True, id="asked for, at another head"),
    pytest.param(B, A, False, asked(B, 121), True, id="asked for, and nothing came of it"),
    pytest.param(B, A, False, asked(B, 121, 2), False, id="asked for twice, a little later"),
    pytest.param(B, A, False, asked(B, 241, 2), True, id="asked for twice, later"),
    pytest.param(B, A, False, asked(B, 1801, 50), True, id="asked for many times"),
    pytest.param(None, A, False, None, True, id="the branch is gone"),
    pytest.param(None, A, True, None, False, id="the branch is gone, and that is known"),
    pytest.param(None, A, False, asked(None, 30), False, id="the branch is gone, and asked for"),
    pytest.param(None, None, False, None, False, id="the branch is not there yet"),
    pytest.param(A, A, True, None, False, id="the branch came back where it was")])
def test_a_refresh_is_asked_for_once_per_head_and_again_after_some_minutes(
        head: str | None, commit: str | None, gone_known: bool, before: Asked | None, wanted: bool) -> None:
    assert pushes.wants_refresh(NOON, head=head, commit=commit, gone_known=gone_known, asked=before) is wanted


# -- runs ----------------------------------------------------------------------------------------------------------------


def test_a_run_that_waits_will_see_what_was_pushed_and_one_that_works_may_not() -> None:
    working = RefreshRun("r1", False, "push", frozenset({("acme", "prod")}))
    queued = RefreshRun("r2", True, "push-2", frozenset({("acme", "dev")}))
    assert pushes.covering(("acme", "prod"), [working, queued]) is None
    assert pushes.covering(("acme", "dev"), [working, queued]) == "r2"


@pytest.mark.parametrize(("asked", "running", "lanes"), [
    pytest.param(["acme/prod"], [], {"push": ["acme/prod"]}, id="nobody waits"),
    pytest.param(["acme/prod", "acme/dev"], ["push acme/prod"], {"push": ["acme/prod", "acme/dev"]},
                 id="what a run works on waits behind it, and what came with it"),
    pytest.param(["acme/prod", "globex/prod"], ["push acme/prod"], {"push": ["acme/prod"], "push-2": ["globex/prod"]},
                 id="everybody else goes where the fewest runs are"),
    pytest.param(["acme/dev"], ["push acme/prod", "push-2 globex/prod"], {"push": ["acme/dev"]},
                 id="a tenant waits behind itself"),
    pytest.param(["acme/dev"], ["push acme/prod", "push acme/eu"], {"push-slow": ["acme/dev"]},
                 id="and fills no lane"),
    pytest.param(["acme/dev"], ["push acme/prod globex/a", "push acme/eu globex/a"], {"push-2": ["acme/dev"]},
                 id="runs that others are in are not the tenant's own"),
    pytest.param(["acme/prod", "slow/a", "slow/b"], [], {"push": ["acme/prod", "slow/b"], "push-slow": ["slow/a"]},
                 id="whose Git did not answer lately waits apart"),
    pytest.param(["acme/prod"], ["push-slow slow/a"], {"push": ["acme/prod"]}, id="which makes nobody else wait"),
    pytest.param(["slow/a"], ["push slow/a"], {"push": ["slow/a"]}, id="and behind the run that works on it, where there is one"),
    pytest.param(["slow/b"], ["push-slow slow/a"], {"push": ["slow/b"]}, id="not even the same tenant")])
def test_who_is_looked_at_in_which_lane(asked: list[str], running: list[str], lanes: dict[str, list[str]]) -> None:
    def partition(name: str) -> Partition:
        tenant, _, environment = name.partition("/")
        return tenant, environment

    runs = [RefreshRun(f"r{number}", False, lane, frozenset(map(partition, names)))
            for number, (lane, *names) in enumerate(run.split() for run in running)]
    found = pushes.by_lane(frozenset(map(partition, asked)), runs, slow={("slow", "a")})
    assert found == {lane: frozenset(map(partition, names)) for lane, names in lanes.items()}
