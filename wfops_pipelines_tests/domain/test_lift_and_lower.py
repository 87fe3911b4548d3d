"""What lift and lower do to each kind of thing (§11.4), and what they report."""

from __future__ import annotations

from typing import Any

import pytest

from wfops_pipelines.domain.lift import PromotedText, hash_portable, lift, promoted_texts
from wfops_pipelines.domain.lower import all_unresolved, lower
from wfops_pipelines.domain.references import portable_hash
from wfops_pipelines.domain.transform_tables import CredentialRow, EnvironmentTables
from wfops_pipelines_tests.domain.promotion_strategies import PORTABLE_FORMS, locator, picker

JsonObject = dict[str, Any]
EXECUTE, TOOL = "n8n-nodes-base.executeWorkflow", "@n8n/n8n-nodes-langchain.toolWorkflow"
DEV = EnvironmentTables("dev", "https://n8n.dev", {"C": "dev1", "D": "dev2"}, [CredentialRow("team", "slackApi", "slack")],
                        {"HOST": "api.dev", "TOKEN": "s3cr3t-v4lu3-0f-d3v", "URL": "https://api.dev"})
PROD = EnvironmentTables("prod", "https://n8n.prod", {"C": "p9"}, [CredentialRow("team", "slackApi", "slack live", "7")],
                         {"HOST": "api.prod", "TOKEN": "an0th3r-0n3-of-pr0d", "URL": "https://api.prod"})


def workflow(*nodes: JsonObject, **settings: Any) -> JsonObject:
    return {"name": "W", "connections": {}, "settings": settings, "nodes": list(nodes)}


def node(name: str = "A", **keys: Any) -> JsonObject:
    return {"name": name, "type": "n8n-nodes-base.set", "parameters": {}, **keys}


def calling(selected: Any, kind: str = EXECUTE, **parameters: Any) -> JsonObject:
    return workflow(node(type=kind, parameters={"workflowId": selected, **parameters}))


def saying(text: str) -> JsonObject:
    return workflow(node(parameters={"text": text}))


def text_of(content: JsonObject) -> str:
    return str(content["nodes"][0]["parameters"]["text"])


@pytest.mark.parametrize("kind", [EXECUTE, TOOL])
@pytest.mark.parametrize("form", PORTABLE_FORMS)
def test_a_called_workflow_keeps_the_form_in_which_it_is_picked(kind: str, form: str) -> None:
    up = lift(calling(picker("dev1", "https://n8n.dev", form), kind), DEV, self_id="own")
    assert up.content == calling(picker("{{wfops.workflow.C}}", "{{wfops.base_url}}", form), kind)
    down = lower(up.content, PROD, self_id=None)
    assert down.content == calling(picker("p9", "https://n8n.prod", form), kind)
    path = "parameters.workflowId" if form == "plain" else "parameters.workflowId.value"
    assert [done.as_json() for done in up.transformations] == [
        {"node": "A", "path": path, "kind": "workflow", "from": "dev1", "to": "{{wfops.workflow.C}}"}]


@pytest.mark.parametrize("kind", [EXECUTE, TOOL])
def test_a_workflow_picked_by_its_url_is_picked_by_its_id_everywhere_else(kind: str) -> None:
    up = lift(calling(picker("dev1", "https://n8n.dev", "url"), kind), DEV, self_id="own")
    assert up.content == lift(calling(picker("dev1", "", "id"), kind), DEV, self_id="own").content
    assert [str(done.kind) for done in up.transformations] == ["workflow"]
    assert not up.unknown
    assert lower(up.content, PROD, self_id=None).content == calling(picker("p9", "", "id"), kind)


def test_portable_content_by_url_is_lowered_and_lifted_by_id_too() -> None:
    by_url = calling(picker("{{wfops.workflow.C}}", "{{wfops.base_url}}", "url"))
    by_id = calling(picker("{{wfops.workflow.C}}", "", "id"))
    assert lower(by_url, PROD, self_id=None).content == calling(picker("p9", "", "id"))
    assert lift(by_url, DEV, self_id=None).content == by_id
    assert hash_portable(by_url) == hash_portable(by_id)


def test_an_expression_as_url_stays_what_it_is() -> None:
    content = calling(locator("={{ $json.url }}", "url"))
    assert lower(lift(content, DEV, self_id=None).content, PROD, self_id=None).content == content


def test_caches_of_a_picker_go_with_what_they_cached() -> None:
    cached = {"cachedResultName": "Sub", "cachedResultUrl": "/workflow/dev1"}
    assert lift(calling({**locator("dev1", "list"), **cached}), DEV, self_id=None).content == calling(locator("{{wfops.workflow.C}}", "list"))
    other = workflow(node(parameters={"channel": {**locator("C123", "list"), "cachedResultName": "general"}}))
    assert lift(other, DEV, self_id=None).content == other


@pytest.mark.parametrize("selected", ["={{ $json.id }}", locator("={{ $json.id }}", "id")])
def test_an_expression_is_reported_and_stays(selected: Any) -> None:
    up = lift(calling(selected), DEV, self_id=None)
    assert up.content == calling(selected)
    assert [thing["kind"] for thing in up.as_json()["unknown"]] == ["workflow"]
    assert not up.unresolved
    assert lower(up.content, PROD, self_id=None).writable


def test_an_expression_that_means_the_workflow_itself_is_known() -> None:
    assert not lift(calling("={{ $workflow.id }}"), DEV, self_id=None).unknown


def test_a_workflow_in_a_text_is_reported() -> None:
    up = lift(calling(None, TOOL, source="parameter", workflowJson="{}"), DEV, self_id=None)
    assert [thing.kind.value for thing in up.unknown] == ["inline_workflow"]


def test_another_node_that_names_a_workflow_is_reported() -> None:
    content = calling(locator("dev1", "id"), "n8n-nodes-base.n8n")
    up = lift(content, DEV, self_id=None)
    assert up.content == content
    assert [thing.kind.value for thing in up.unknown] == ["workflow"]


def test_settings_name_workflows() -> None:
    up = lift(workflow(errorWorkflow="dev1", callerIds=" dev1, own"), DEV, self_id="own")
    assert up.content["settings"] == {"errorWorkflow": "{{wfops.workflow.C}}", "callerIds": "{{wfops.workflow.C}},{{wfops.workflow.self}}"}
    down = lower(up.content, PROD, self_id="own prod")
    assert down.content["settings"] == {"errorWorkflow": "p9", "callerIds": "p9,own prod"}
    assert {done.path for done in down.transformations} == {"settings.errorWorkflow", "settings.callerIds"}


def test_a_workflow_that_is_not_linked_in_the_source_blocks() -> None:
    up = lift(calling("stranger"), DEV, self_id=None)
    assert up.content == calling("stranger")
    assert up.as_json()["unresolved"] == [{
        "kind": "workflow", "node": "A", "path": "parameters.workflowId",
        "what": "workflow stranger is none that is linked in dev", "fix": "link it in dev, or choose another workflow"}]
    down = lower(up.content, PROD, self_id=None)
    assert not down.writable
    assert all_unresolved(up.unresolved, down.unresolved) == up.unresolved


def test_a_workflow_that_the_target_lacks_blocks_unless_it_comes_along() -> None:
    portable = workflow(node(type=EXECUTE, parameters={"workflowId": "{{wfops.workflow.D}}"}), errorWorkflow="{{wfops.workflow.D}}")
    down = lower(portable, PROD, self_id=None)
    assert [(problem.node, problem.path, problem.term) for problem in down.unresolved] == [
        ("A", "parameters.workflowId", "D"), (None, "settings.errorWorkflow", "D")]
    along = lower(portable, PROD, self_id=None, planned={"D"})
    assert (along.unresolved, along.awaited, along.writable) == ((), ("D",), False)


def test_a_new_workflow_that_calls_itself_awaits_itself() -> None:
    portable = lift(calling("own"), DEV, self_id="own").content
    assert lower(portable, PROD, self_id=None).awaited == ("self",)
    assert lower(portable, PROD, self_id="there").content == calling("there")


@pytest.mark.parametrize("reference", ["slack", {"id": "1", "name": "slack"}, {"id": None, "name": "slack"}, {"name": "slack"}])
def test_a_credential_in_every_shape_becomes_its_key_and_the_targets(reference: Any) -> None:
    up = lift(workflow(node(credentials={"slackApi": reference})), DEV, self_id=None)
    assert up.content == workflow(node(credentials={"slackApi": {"name": "key:team"}}))
    down = lower(up.content, PROD, self_id=None)
    assert down.content == workflow(node(credentials={"slackApi": {"id": "7", "name": "slack live"}}))
    assert [done.as_json() for done in down.transformations] == [
        {"node": "A", "path": "credentials.slackApi", "kind": "credential", "from": "key:team", "to": "slack live"}]


def test_an_id_that_the_table_lacks_is_taken_from_the_target_and_else_null() -> None:
    portable = workflow(node(credentials={"slackApi": {"name": "key:team"}}))
    # Null, not absent: without an id n8n would take the first credential of the type.
    assert lower(portable, DEV, self_id=None).content["nodes"][0]["credentials"] == {"slackApi": {"id": None, "name": "slack"}}
    there = workflow(node("B", credentials={"slackApi": {"id": "42", "name": "slack"}}))
    assert lower(portable, DEV, self_id=None, current=there).content["nodes"][0]["credentials"] == {"slackApi": {"id": "42", "name": "slack"}}


@pytest.mark.parametrize("credentials", [None, {}, {"slackApi": None}, [], "x"])
def test_no_credential_is_no_reference(credentials: Any) -> None:
    content = workflow(node(credentials=credentials))
    up = lift(content, DEV, self_id=None)
    assert (up.content, up.unresolved) == (content, ())
    assert lower(content, PROD, self_id=None).writable


@pytest.mark.parametrize(("kind", "reference"), [("slackApi", {"id": "1", "name": "stranger"}), ("jwtAuth", "slack"),
                                                 ("slackApi", {"id": "1"}), ("slackApi", {"id": "1", "name": "key:team"})])
def test_a_credential_without_a_key_blocks(kind: str, reference: Any) -> None:
    content = workflow(node(credentials={kind: reference}))
    up = lift(content, DEV, self_id=None)
    assert up.content == content
    assert [(problem.kind.value, problem.node, problem.path) for problem in up.unresolved] == [("credential", "A", f"credentials.{kind}")]
    assert len(all_unresolved(up.unresolved, lower(up.content, PROD, self_id=None).unresolved)) == 1


def test_a_key_that_the_target_has_no_name_for_blocks() -> None:
    down = lower(workflow(node(credentials={"slackApi": {"name": "key:sales"}})), PROD, self_id=None)
    [problem] = down.unresolved
    assert (problem.kind.value, problem.node, problem.path, problem.term) == ("credential", "A", "credentials.slackApi", "sales")
    assert "prod" in problem.fix


@pytest.mark.parametrize(("text", "lifted"), [
    ("https://n8n.dev", "{}"), ("https://n8n.dev/webhook/x", "{}/webhook/x"), ("=https://n8n.dev/{{ $json.id }}", "={}/{{ $json.id }}"),
    ("https://n8n.dev?x=1", "{}?x=1"), ("see https://n8n.dev.", "see {}."), ('fetch("https://n8n.dev" + p)', 'fetch("{}" + p)'),
    ("to=https://n8n.dev&x", "to={}&x"), ("https://n8n.dev, https://n8n.dev/", "{}, {}/"),
])
def test_the_address_is_replaced_wherever_a_url_begins(text: str, lifted: str) -> None:
    up = lift(saying(text), DEV, self_id=None)
    assert text_of(up.content) == lifted.replace("{}", "{{wfops.base_url}}")
    assert text_of(lower(up.content, PROD, self_id=None).content) == text.replace("n8n.dev", "n8n.prod")
    assert not up.unknown


@pytest.mark.parametrize("text", [
    "https://n8n.dev.evil.com", "https://n8n.dev:8443/", "https://n8n.developers.com", "https://n8n.dev@evil.com",
    "xhttps://n8n.dev/", "https://n8n.dev-2/", "http://n8n.dev/", "https:\\/\\/n8n.dev\\/x", "HTTPS://n8n.dev"])
def test_no_other_address_is_touched(text: str) -> None:
    assert lift(saying(text), DEV, self_id=None).content == saying(text)


@pytest.mark.parametrize(("text", "told"), [
    ("http://n8n.dev/", True), ("https:\\/\\/n8n.dev\\/x", True), ("https://n8n.dev:8443/", True),
    ("https://n8n.dev.evil.com", False), ("bob@n8n.dev", False)])
def test_the_address_in_another_form_is_reported(text: str, told: bool) -> None:
    assert [thing.kind.value for thing in lift(saying(text), DEV, self_id=None).unknown] == ["base_url"] * told


def test_a_first_promotion_lifts_no_values() -> None:
    assert lift(saying("https://api.dev/v1"), DEV, self_id=None).content == saying("https://api.dev/v1")


@pytest.mark.parametrize(("text", "lifted"), [
    ("api.dev", "{{env.HOST}}"), ("https://api.dev/v1", "https://{{env.HOST}}/v1"), ("my-api.dev", "my-api.dev"),
    ("api.dev.evil.com", "api.dev.evil.com"), ("api.devel", "api.devel")])
def test_values_are_lifted_where_that_is_asked_for(text: str, lifted: str) -> None:
    up = lift(saying(text), DEV, self_id=None, promoted=[PromotedText("A", "parameters.text", "{{env.HOST}}")])
    assert text_of(up.content) == lifted
    assert [thing.kind.value for thing in up.unknown] == ["variable"] * (text == lifted)


def test_what_was_promoted_with_a_value_gets_it_back_and_stays_edited() -> None:
    portable = saying("{{env.URL}}/api.prod/{{wfops.base_url}}")
    there = lower(portable, PROD, self_id=None).content
    assert text_of(there) == "https://api.prod/api.prod/https://n8n.prod"
    known = [PromotedText.from_json(each.as_json()) for each in promoted_texts(portable, PROD)]
    assert lift(there, PROD, self_id=None, promoted=known).content == portable
    edited = lift(saying(text_of(there) + "/more"), PROD, self_id=None, promoted=known)
    assert text_of(edited.content) == "{{env.URL}}/api.prod/{{wfops.base_url}}/more"


def test_a_value_that_is_gone_is_reported() -> None:
    known = [PromotedText("A", "parameters.text", "{{env.HOST}}"), PromotedText("Gone", "parameters.url", "{{env.URL}}")]
    up = lift(saying("api.other"), DEV, self_id=None, promoted=known)
    assert [(thing.node, thing.path, thing.what) for thing in up.unknown] == [("A", "parameters.text", "HOST"), ("Gone", "parameters.url", "URL")]


def test_two_variables_of_one_value_are_not_guessed() -> None:
    tables = EnvironmentTables("dev", variables={"A": "same", "B": "same"})
    known = [PromotedText("A", "parameters.text", "{{env.A}} {{env.B}}")]
    assert text_of(lift(saying("same same"), tables, self_id=None, promoted=known).content) == "{{env.A}} {{env.B}}"
    edited = lift(saying("same"), tables, self_id=None, promoted=known)
    assert (text_of(edited.content), len(edited.unknown)) == ("same", 2)


@pytest.mark.parametrize("placeholder", ["{{env.NOWHERE}}", "{{env.with-dash}}", "{{wfops.else}}", "{{wfops.workflow.C}}"])
def test_an_unknown_placeholder_blocks(placeholder: str) -> None:
    content = saying(f"a {placeholder} b")
    down = lower(content, PROD, self_id=None)
    assert down.content == content
    [problem] = down.unresolved
    assert (problem.kind.value, problem.node, problem.path, problem.term) == ("placeholder", "A", "parameters.text", placeholder)
    assert problem.fix


@pytest.mark.parametrize("text", ["${{env.NOWHERE}}", "{{ env.X }}", "={{ $env.HOST }}", "{{environment}}"])
def test_what_only_looks_like_a_placeholder_is_a_text(text: str) -> None:
    down = lower(saying(text), PROD, self_id=None)
    assert (down.content, down.writable) == (saying(text), True)


def test_a_target_without_an_address_cannot_have_it() -> None:
    assert [problem.kind.value for problem in lower(saying("{{wfops.base_url}}"), EnvironmentTables("x"), self_id=None).unresolved] == ["placeholder"]


def test_sticky_notes_stay_as_they_are() -> None:
    content = workflow(node(type="n8n-nodes-base.stickyNote", parameters={"content": "https://n8n.dev {{env.NOWHERE}}"}))
    up = lift(content, DEV, self_id=None)
    assert up.content == content
    assert lower(content, PROD, self_id=None).writable


def test_secrets_are_masked_in_what_is_told() -> None:
    portable = saying("{{env.TOKEN}}")
    down = lower(portable, PROD, self_id=None)
    up = lift(down.content, PROD, self_id=None, promoted=promoted_texts(portable, PROD))
    assert up.content == portable
    assert "an0th3r" not in f"{down.as_json()} {up.as_json()} {down!r} {up!r} {PROD!r}"


def test_a_node_keeps_the_targets_ids_by_its_name() -> None:
    portable = workflow(node("A", id="a", webhookId="wa"), node("B", id="b", webhookId="wb"), node("C", id="c"))
    there = workflow(node("A", id="1", webhookId="w1"), node("B", id="2", webhookId="w2", type="other"))
    down = lower(portable, PROD, self_id="x", current=there)
    assert [(each.get("id"), each.get("webhookId")) for each in down.content["nodes"]] == [("1", "w1"), ("2", "wb"), ("c", None)]
    assert lower(portable, PROD, self_id=None).content == portable


def test_new_ids_only_where_they_are_asked_for() -> None:
    portable = workflow(node("A", id="a"), node("B", id="b"))
    down = lower(portable, PROD, self_id=None, current=workflow(node("A", id="1")), node_ids=["fresh"])
    assert [each["id"] for each in down.content["nodes"]] == ["1", "fresh"]


def test_new_ids_are_none_that_the_target_has_already() -> None:
    portable = workflow(node("A", id="a"), node("B", id="b"), node("C", id="c"))
    there = workflow(node("A", id="1"), node("B", id="2"))
    down = lower(portable, PROD, self_id="x", current=there, node_ids=["1", "2", "3"])
    assert [each["id"] for each in down.content["nodes"]] == ["1", "2", "3"]
    short = lower(portable, PROD, self_id="x", node_ids=["1"])
    assert [each.get("id") for each in short.content["nodes"]] == ["1", "b", "c"]


@pytest.mark.parametrize("current", [None, workflow(node("A", id="1"), node("B", id="1")), workflow(node("B", id="x"))])
def test_no_two_nodes_have_one_id(current: JsonObject | None) -> None:
    twice = workflow(node("A", id="x"), node("B", id="x"), node("C", id="x"), node("D"))
    up = lift(twice, DEV, self_id=None)
    assert [each.get("id") for each in up.content["nodes"]] == ["x", None, None, None]
    assert hash_portable(up.content) == hash_portable(twice)
    for portable in (twice, up.content):
        for node_ids in (None, ["1", "x", "x2", "x3", "x4"]):
            ids = [each["id"] for each in lower(portable, PROD, self_id="x", current=current, node_ids=node_ids).content["nodes"]
                   if "id" in each]
            assert len(ids) == len(set(ids)) > 0


def test_an_id_that_the_target_has_for_another_node_is_left_to_n8n() -> None:
    portable = workflow(node("Renamed", id="1", webhookId="w"), node("A", id="2", webhookId="v"))
    down = lower(portable, PROD, self_id="x", current=workflow(node("A", id="1", webhookId="w")))
    assert [(each.get("id"), each.get("webhookId")) for each in down.content["nodes"]] == [(None, None), ("1", "w")]


def test_groups_follow_the_ids_of_their_nodes() -> None:
    portable = {**workflow(node("A", id="a"), node("B", id="b")), "nodeGroups": [{"id": "g", "nodeIds": ["a", "b"]}]}
    down = lower(portable, PROD, self_id="x", current=workflow(node("A", id="1")))
    assert down.content["nodeGroups"] == [{"id": "g", "nodeIds": ["1", "b"]}]


def test_the_hash_of_portable_content_is_the_portable_hash_where_it_came_from() -> None:
    content = workflow(node(type=EXECUTE, parameters={"workflowId": locator("dev1", "list")}, credentials={"slackApi": "slack"}),
                       errorWorkflow="own", callerIds="dev2,stranger")
    assert hash_portable(lift(content, DEV, self_id="own").content) == portable_hash(
        content, self_id="own", canonical_id_of=DEV.canonical_ids, credential_key_of=DEV.credential_keys)


def test_a_picker_with_a_broken_url_calls_nothing() -> None:
    content = calling(locator("https://[", "url"))
    up = lift(content, DEV, self_id=None)
    assert (up.content, up.unresolved) == (content, ())


def test_of_values_that_begin_alike_the_longest_is_lifted() -> None:
    tables = EnvironmentTables("dev", variables={"HOST": "api.dev", "API": "api.dev/v1"})
    known = [PromotedText("A", "parameters.text", "{{env.HOST}} {{env.API}}")]
    assert text_of(lift(saying("api.dev/v1/x, api.dev"), tables, self_id=None, promoted=known).content) == "{{env.API}}/x, {{env.HOST}}"
