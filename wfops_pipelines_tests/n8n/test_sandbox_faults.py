"""What goes wrong on the way to n8n, as a client sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve

BODY = {"name": "w", "nodes": [], "connections": {}, "settings": {}}


@pytest.fixture
def sandbox() -> Sandbox:
    made = create_sandbox(api_key="k", control=True)
    made.state.seed_workflows([{**BODY, "name": f"W{number}"} for number in range(5)])
    return made


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with serve(sandbox) as url, httpx.Client(base_url=f"{url}/api/v1", headers={"x-n8n-api-key": "k"}, trust_env=False) as made:
        yield made


def test_a_rate_limit_names_the_seconds_to_wait_and_ends(sandbox: Sandbox, http: httpx.Client) -> None:
    fault = sandbox.faults.add("rate_limit", retry_after=7, times=2)
    answers = [http.get("/workflows") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "7"
    assert (fault.seen, fault.hits) == (3, 2)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_errors_come_after_as_many_good_answers_as_told(sandbox: Sandbox, http: httpx.Client, status: int) -> None:
    sandbox.faults.add("status", status=status, after=1, times=1, html=status == 502)
    assert [http.get("/workflows").status_code for _ in range(3)] == [200, status, 200]


def test_a_fault_hits_only_what_it_names(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.add("status", status=503, method="GET", path=r"/tags$")
    assert http.get("/tags").status_code == 503
    assert http.post("/tags", json={"name": "t"}).status_code == 201
    assert http.get("/workflows").status_code == 200


@pytest.mark.parametrize("status", [200, 500])
def test_a_web_page_instead_of_json(sandbox: Sandbox, http: httpx.Client, status: int) -> None:
    sandbox.faults.add("html", status=status)
    answer = http.get("/workflows")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (status, "text/html")


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_breaks_off(sandbox: Sandbox, http: httpx.Client, chunked: bool) -> None:
    sandbox.faults.add("cut", chunked=chunked, times=1)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        http.get("/workflows")
    assert http.get("/workflows").status_code == 200


def test_an_answer_drop_by_drop_comes_whole_to_who_waits_and_ends_with_who_does_not(sandbox: Sandbox, http: httpx.Client) -> None:
    fault = sandbox.faults.add("drip", ms=0.01, times=1)
    assert len(http.get("/workflows").json()["data"]) == 5
    fault.ms, fault.times = 60_000, 2
    with pytest.raises(httpx.ReadTimeout):
        http.get("/workflows", timeout=1)
    assert fault.hits == 2 and len(http.get("/workflows").json()["data"]) == 5


def test_a_listing_without_end(sandbox: Sandbox, http: httpx.Client) -> None:
    fault = sandbox.faults.add("endless", method="GET", path="/workflows$")
    pages = [http.get("/workflows", params={"cursor": cursor}).json() for cursor in ("x", "y", "z")]
    assert len({page["nextCursor"] for page in pages}) == len({page["data"][0]["id"] for page in pages}) == 3
    fault.times = fault.hits
    assert http.get("/workflows").json()["nextCursor"] is None


def test_a_listing_that_breaks_off_after_two_pages(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.cut_listing(after_page=2)
    first = http.get("/workflows", params={"limit": 1}).json()
    second = http.get("/workflows", params={"cursor": first["nextCursor"]}).json()
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/workflows", params={"cursor": second["nextCursor"]})


def test_a_connection_that_is_reset(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.add("reset", times=1)
    with pytest.raises(httpx.ReadError):
        http.post("/workflows", json=BODY)
    assert len(http.get("/workflows").json()["data"]) == 5


def test_a_reset_after_the_work_was_done(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.add("late_reset", method="POST", times=1)
    with pytest.raises(httpx.ReadError):
        http.post("/workflows", json=BODY)
    assert len(http.get("/workflows").json()["data"]) == 6


def test_a_key_that_is_refused_and_one_that_lacks_the_scope(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.add("refuse", times=1)
    assert (http.get("/workflows").status_code, http.get("/workflows").status_code) == (401, 200)
    sandbox.faults.add("forbid", times=1)
    assert http.get("/workflows").status_code == 403


def test_wrong_json_an_empty_page_and_a_redirect_to_itself(sandbox: Sandbox, http: httpx.Client) -> None:
    for kind in ("wrong_json", "empty", "redirect"):
        sandbox.faults.add(kind, times=1)
    sandbox.faults.add("latency", ms=1)
    assert http.get("/workflows").json() == {"hello": "world"}
    assert http.get("/workflows").json() == {"data": [], "nextCursor": None}
    answer = http.get("/workflows")
    assert answer.status_code == 302 and answer.headers["location"] == str(answer.request.url)


def test_latency_delays_an_answer(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.faults.add("latency", ms=120)
    start = time.monotonic()
    assert http.get("/workflows").status_code == 200
    assert time.monotonic() - start >= 0.12


def test_faults_are_switched_from_another_process(sandbox: Sandbox, http: httpx.Client) -> None:
    root = str(http.base_url).removesuffix("/api/v1/")
    made = httpx.post(f"{root}/_sandbox/faults", json={"kind": "status", "status": 503, "times": 1}, trust_env=False)
    assert made.json()["faults"][0]["kind"] == "status"
    assert [http.get("/tags").status_code for _ in range(2)] == [503, 200]
    assert httpx.get(f"{root}/_sandbox/faults", trust_env=False).json()["faults"][0]["hits"] == 1
    assert httpx.delete(f"{root}/_sandbox/faults", trust_env=False).json() == {"faults": []}
    assert httpx.post(f"{root}/_sandbox/faults", json={"kind": "fire"}, trust_env=False).status_code == 400
    assert len(httpx.post(f"{root}/_sandbox/seed", json=[BODY], trust_env=False).json()["ids"]) == 1


def test_without_leave_nobody_switches_faults() -> None:
    with serve(create_sandbox()) as url:
        answer = httpx.post(f"{url}/_sandbox/faults", json={"kind": "reset"}, trust_env=False)
    assert answer.status_code == 404


def test_an_unknown_fault_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="no fault 'fire'"):
        sandbox.faults.add("fire")
