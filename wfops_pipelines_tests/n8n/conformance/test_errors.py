"""Keys, refusals, limits: facts §3."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from wfops_pipelines_tests.n8n.conformance.target import Target, manual, ok, refused, scheduled, writable

NOBODY = "AAAAAAAAAAAAAAAA"  # an id that no workflow has


def _without_key(n8n: Target, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(f"{n8n.url}/api/v1/workflows", headers=headers or {}, trust_env=False)


def test_without_a_key_it_answers_401(n8n: Target) -> None:
    expected = "'X-N8N-API-KEY' header required" if n8n.is_v1 else "Unauthorized"
    assert refused(_without_key(n8n), 401) == expected


def test_a_wrong_key_is_refused_with_401(n8n: Target) -> None:
    expected = "unauthorized" if n8n.is_v1 else "Unauthorized"
    assert refused(_without_key(n8n, {"x-n8n-api-key": "wrong"}), 401) == expected


def test_an_api_key_is_no_bearer_token(n8n: Target) -> None:
    assert _without_key(n8n, {"authorization": f"Bearer {n8n.api_key}"}).status_code == 401


def test_scopes_of_a_key_are_enforced_by_2x_alone(n8n: Target) -> None:
    if not n8n.real:
        pytest.skip("the sandbox has one key with every scope")
    with httpx.Client(base_url=n8n.url, headers={"browser-id": "scopes"}, trust_env=False) as browser:
        ok(browser.post("/rest/login", json={"emailOrLdapLoginId": "owner@example.com", "password": "Passw0rd123"}))
        label = f"narrow-{secrets.token_hex(4)}"
        made = ok(browser.post("/rest/api-keys", json={"label": label, "scopes": ["tag:list"], "expiresAt": None}))
    answer = _without_key(n8n, {"x-n8n-api-key": made["data"]["rawApiKey"]})
    if n8n.is_v1:
        ok(answer)
    else:
        assert refused(answer, 403) == "Forbidden"


def test_an_unknown_path_is_404_json(n8n: Target) -> None:
    assert refused(n8n.get("/nonsense"), 404) == "not found"


def test_an_unknown_workflow_is_404(n8n: Target) -> None:
    assert refused(n8n.get(f"/workflows/{NOBODY}"), 404) == "Not Found"
    assert refused(n8n.delete(f"/workflows/{NOBODY}"), 404) == "Not Found"


def test_writing_an_unknown_workflow_is_404_and_2x_speaks_of_permission(n8n: Target) -> None:
    put = refused(n8n.put(f"/workflows/{NOBODY}", manual()), 404)
    activate = refused(n8n.post(f"/workflows/{NOBODY}/activate"), 404)
    if n8n.is_v1:
        assert (put, activate) == ("Not Found", "Not Found")
    else:
        assert put == "You do not have permission to update this workflow. Ask the owner to share it with you."
        assert activate == "You do not have permission to activate this workflow. Ask the owner to share it with you."


def test_a_method_that_is_not_there_is_405(n8n: Target) -> None:
    workflow = n8n.create(manual())
    answer = n8n.request("PATCH", f"/workflows/{workflow['id']}", json={"name": "x"})
    assert refused(answer, 405) == "PATCH method not allowed"


def test_what_needs_a_licence_is_403_and_says_so(n8n: Target) -> None:
    assert refused(n8n.get("/variables"), 403).startswith("Your license does not allow for feat:variables.")


def test_a_body_that_is_no_json_is_answered_with_an_html_page(n8n: Target) -> None:
    answer = n8n.request("POST", "/workflows", content=b"{no json", headers={"content-type": "application/json"})
    assert answer.status_code == 500
    assert answer.headers["content-type"].startswith("text/html")
    assert "Failed to parse request body" in answer.text


def test_a_body_of_more_than_16_mib_is_413_html(n8n: Target) -> None:
    body = manual(staticData={"filler": "x" * (16 * 1024 * 1024 + 1)})
    answer = n8n.post("/workflows", body)
    assert answer.status_code == 413
    assert answer.headers["content-type"].startswith("text/html")


def test_a_body_of_5_mib_is_taken_and_comes_back(n8n: Target) -> None:
    workflow = n8n.create(manual(staticData={"filler": "x" * (5 * 1024 * 1024)}))
    assert len(n8n.workflow(workflow["id"])["staticData"]["filler"]) == 5 * 1024 * 1024


def test_a_content_type_other_than_json_is_415(n8n: Target) -> None:
    answer = n8n.request("POST", "/workflows", content=b"x", headers={"content-type": "text/plain"})
    assert refused(answer, 415) == "unsupported media type text/plain"


def test_an_unknown_query_parameter_is_refused_by_1x_and_ignored_by_2x(n8n: Target) -> None:
    answer = n8n.get("/workflows", limit=1, x="1")
    if n8n.is_v1:
        assert refused(answer, 400) == "Unknown query parameter 'x'"
    else:
        ok(answer)


@pytest.mark.parametrize("key", ["active", "id"])
def test_a_read_only_key_is_refused_by_name(n8n: Target, key: str) -> None:
    value: Any = True if key == "active" else NOBODY
    assert refused(n8n.post("/workflows", {**manual(), key: value}), 400) == f"request/body/{key} is read-only"


def test_an_unknown_key_is_refused_and_only_2x_names_it(n8n: Target) -> None:
    message = refused(n8n.post("/workflows", {**manual(), "x": 1}), 400)
    if n8n.is_v1:
        assert message == "request/body must NOT have additional properties"
    else:
        assert message == "request/body Unrecognized key(s) in object: 'x'"


def test_the_error_body_is_an_object_with_a_message(n8n: Target) -> None:
    for answer in (n8n.get("/nonsense"), n8n.get("/workflows", limit="abc"), n8n.get(f"/workflows/{NOBODY}")):
        assert isinstance(answer.json()["message"], str)


def test_source_control_without_a_licence(n8n: Target) -> None:
    answer = n8n.post("/source-control/pull", {})
    assert answer.status_code == (401 if n8n.is_v1 else 403)
    if n8n.is_v1:
        assert answer.json() == {"status": "Error", "message": "Source Control feature is not licensed"}


def test_there_is_no_rate_limit(n8n: Target) -> None:
    answers = [n8n.get("/tags", limit=1) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200}
    assert not [header for header in answers[-1].headers if "ratelimit" in header.lower()]


def test_answers_are_compressed_when_asked(n8n: Target) -> None:
    n8n.create(manual(staticData={"filler": "x" * 5000}))
    plain = n8n.request("GET", "/workflows", headers={"accept-encoding": "identity"})
    gzip = n8n.request("GET", "/workflows", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert gzip.headers["content-encoding"] == "gzip"
    assert gzip.json() == plain.json()


def test_a_weak_etag_gives_304(n8n: Target) -> None:
    path = f"/workflows/{n8n.create(manual())['id']}"
    etag = n8n.get(path).headers["etag"]
    assert etag.startswith('W/"')
    again = n8n.request("GET", path, headers={"if-none-match": etag})
    assert (again.status_code, again.content) == (304, b"")


def test_head_is_answered_by_2x_alone(n8n: Target) -> None:
    assert n8n.request("HEAD", "/workflows").status_code == (405 if n8n.is_v1 else 200)


def test_health_is_answered_without_a_key(n8n: Target) -> None:
    for path in ("/healthz", "/healthz/readiness"):
        assert ok(httpx.get(f"{n8n.url}{path}", trust_env=False)) == {"status": "ok"}


def test_metrics_are_off(n8n: Target) -> None:
    assert n8n.http.get("/metrics").status_code == 404


def test_discover_tells_1x_from_2x(n8n: Target) -> None:
    assert n8n.get("/discover").status_code == (404 if n8n.is_v1 else 200)


def test_discover_needs_a_key_in_2x(n8n: Target) -> None:
    answer = httpx.get(f"{n8n.url}/api/v1/discover", headers={"x-n8n-api-key": "wrong"}, trust_env=False)
    assert answer.status_code == (404 if n8n.is_v1 else 401)


def test_a_body_as_get_gives_it_is_refused(n8n: Target) -> None:
    workflow = n8n.workflow(n8n.create(scheduled())["id"])
    assert n8n.put(f"/workflows/{workflow['id']}", workflow).status_code == 400
    ok(n8n.put(f"/workflows/{workflow['id']}", writable(workflow)))


@pytest.mark.parametrize("body", [b"null", b"", b" null "])
def test_a_body_of_null_is_an_empty_object(n8n: Target, body: bytes) -> None:
    workflow = n8n.create(manual())
    for method, path in (("POST", "/workflows"), ("PUT", f"/workflows/{workflow['id']}"), ("POST", "/tags")):
        answer = n8n.request(method, path, content=body, headers={"content-type": "application/json"})
        assert refused(answer, 400) == "request/body must have required property 'name'"
    tags = n8n.request("PUT", f"/workflows/{workflow['id']}/tags", content=body, headers={"content-type": "application/json"})
    assert refused(tags, 400) == ("request/body must be array" if n8n.is_v1 else "request/body Expected array, received object")


@pytest.mark.parametrize("written", ["a%2Fb", "..%2Fx", "%2F", "a%2Ftags"])
def test_a_slash_that_is_escaped_belongs_to_the_id(n8n: Target, written: str) -> None:
    assert refused(n8n.get(f"/workflows/{written}"), 404) == "Not Found"
    assert refused(n8n.delete(f"/workflows/{written}"), 404) == "Not Found"
    assert refused(n8n.get(f"/workflows/{written}/tags"), 404) == "Not Found"
    assert refused(n8n.get(f"/tags/{written}"), 404) == "Not Found"
    put = refused(n8n.put(f"/workflows/{written}", manual()), 404)
    assert put == ("Not Found" if n8n.is_v1 else
                   "You do not have permission to update this workflow. Ask the owner to share it with you.")


def test_half_an_escape_in_a_path_is_400_in_1x_and_500_in_2x(n8n: Target) -> None:
    said = "malformed uri'" if n8n.is_v1 else "Internal server error"
    path = n8n.http.base_url.join("/api/v1/workflows/a%ZZ")
    assert refused(n8n.http.get(path), 400 if n8n.is_v1 else 500) == said
