"""No secret that is planted survives the masking (§8), and of ordinary workflows hardly anything is hidden."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.certain_secrets import FORMS, providers_of_secrets
from wfops_pipelines.domain.errors import MalformedWorkflow
from wfops_pipelines.domain.masking import MASKED, mask, mask_text
from wfops_pipelines.domain.workflow import parse_json, read_content
from wfops_pipelines_tests.domain.workflow_strategies import law

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
RANDOM = "Zq7Kp2Lm9Xv4" + "Tb8Rw3Ns"
WORD = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def made_of(alphabet: str, size: int, prefix: str = "") -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=size, max_size=size).map(lambda rest: prefix + rest)


@st.composite
def machine_made(draw: st.DrawFn) -> str:
    """Letters and digits well mixed, as a generator of keys makes them."""
    groups = draw(st.lists(st.tuples(made_of(string.ascii_letters, 3), made_of(string.digits, 1)), min_size=5, max_size=10))
    return "".join(letters + digit for letters, digit in groups)


PREFIXED = st.one_of(
    made_of(WORD, 24, "sk_" + "live_"), made_of(WORD, 32, "rk_" + "test_"), made_of(WORD, 36, "ghp_"),
    made_of(WORD, 40, "sk-" + "ant-api03-"), made_of(WORD, 24, "xoxb-" + "1234567890-"), made_of(WORD, 20, "glpat-"),
    made_of(string.ascii_uppercase + string.digits, 16, "AKIA"), made_of(WORD, 24, "hvs."), made_of(WORD, 32, "lin_api_"),
    made_of(HEX, 32, "SK"), made_of(HEX, 40, "sbp_"), made_of(WORD, 35, "AIza"))

ANYWHERE = ["{}", "see {} there", "x={}", "a\n{}\nb", "\t{}", "({})", "https://x.example.com/{}/y", '"{}"', "const k = f('{}')"]
CODE = [
    'new Stripe("{}")', "new Stripe('{}', {{ apiVersion: '2023-10-16' }})", "client = anthropic.Anthropic('{}')",
    "const c = createClient(`{}`);", "redis_client('{}')", "x = new ns.Sdk( '{}' )", "return new Foo(\"{}\")",
    'const tokens = ["{}", "other"]', "const c = {{ tokens: ['a', '{}'], n: 1 }}", "api_keys = ['{}']", "API_KEYS=(\"{}\")",
    "secrets: [\n  '{}',\n]", "x['accessTokens'] = new Set(['{}'])", "passwords = {{'ada': '{}'}}", "keys: string[] = ['{}']",
    "const token = '{}'", "headers: {{ 'X-Api-Key': '{}' }}",
]


def in_documents(text: str, depth: int) -> str:
    """The text as code in JSON in JSON …, as it stands in a parameter."""
    for _ in range(depth):
        text = json.dumps({"code": text})
    return text


@law
@given(PREFIXED, st.sampled_from(ANYWHERE + CODE), st.integers(0, 2))
def test_what_is_known_by_its_prefix_survives_nowhere(secret: str, form: str, depth: int) -> None:
    text = in_documents(form.format(secret) if form in CODE else form.replace("{}", secret), depth)
    assert secret not in mask_text(text)


@law
@given(machine_made(), st.sampled_from(CODE), st.integers(0, 2))
def test_what_a_machine_made_survives_in_no_code_that_uses_it(secret: str, form: str, depth: int) -> None:
    assert secret not in mask_text(in_documents(form.format(secret), depth))


@law
@given(st.lists(machine_made(), min_size=1, max_size=4),
       st.sampled_from(["tokens", "keys", "apiKeys", "access_tokens", "API_KEYS", "passwords", "botTokens", "secrets", "sessions"]))
def test_no_item_of_a_list_under_a_secret_name_survives(secrets: list[str], name: str) -> None:
    for shown in (mask({name: secrets}), mask_text(json.dumps({"a": [{name: secrets}]})), mask({"x": json.dumps({name: secrets})})):
        assert not [secret for secret in secrets if secret in str(shown)]


@pytest.mark.parametrize("value", [
    {"tokens": ["hello", "world"]}, {"tokens": 100}, {"maxTokens": [5]}, {"keys": ["id", "customer"]}, {"completionTokens": [1, 2]},
    {"codes": ["DE", "FR"]}, {"nextPageTokens": [RANDOM]}, {"class": [RANDOM]},
])
def test_a_list_that_holds_words_stays(value: Any) -> None:
    assert mask(value) == value


@pytest.mark.parametrize("text", [
    "new Date('2024-01-01T00:00:00.000Z')", "new URL('https://example.com/a1b2c3d4')", 'new Set(["a1", "b2"])',
    "new ObjectId('507f1f77bcf86cd799439011')", "new Error('E1: a2 went b3 wrong')", "new Intl.NumberFormat('de-DE')",
    "const tokens = ['hello', 'world']", "const tokens = text.split(' ')", "credentials = ['read', 'write']",
    "const keys = ['a', 'b']; tokens.push(x)", "new Map([['a', 1]])", "fetchClient('customers')",
])
def test_code_that_makes_other_things_stays_readable(text: str) -> None:
    assert mask_text(text) == text


def test_of_a_client_and_of_a_list_only_the_secrets_are_hidden() -> None:
    assert mask_text(f'new Stripe("{RANDOM}", {{ a: 1 }})') == f'new Stripe("{MASKED}", {{ a: 1 }})'
    assert mask_text(f"let tokens = ['{RANDOM}', '']; go()") == f"let tokens = ['{MASKED}', '']; go()"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus of real workflows is not there (../shared/corpus)")
def test_hardly_any_text_of_real_workflows_is_masked() -> None:
    """Measured: 39 of 17,732 texts. What is among them are keys that people left in, and names that look like one."""
    seen = masked = 0
    for path in sorted(CORPUS.rglob("*.json")):
        try:
            document = parse_json(path.read_bytes())
            read_content(document)
        except MalformedWorkflow:
            continue
        parameters = [node.get("parameters") for node in document["nodes"]]
        for before, after in pairs(parameters, mask(parameters)):
            seen += 1
            masked += before != after
    assert seen > 10_000 and masked / seen < 0.005


def pairs(before: Any, after: Any) -> list[tuple[str, str]]:
    """The texts of a value, each with what is shown for it."""
    if isinstance(before, str):
        return [(before, after)]
    if isinstance(before, dict):
        return [pair for one, other in zip(before.values(), after.values(), strict=True) for pair in pairs(one, other)]
    if isinstance(before, list):
        return [pair for one, other in zip(before, after, strict=True) for pair in pairs(one, other)]
    return []


@given(st.sampled_from(sorted(FORMS.items())), st.sampled_from(["{}", "const key = '{}'", "https://api.example/{}/send",
       "first line\\n{}\\nlast line", '{{"note": "use {} here"}}', "={{{{ $json.x }}}} {}"]), st.data())
def test_what_is_certainly_a_secret_is_masked_too(form: tuple[str, str], around: str, data: st.DataObject) -> None:
    provider, expression = form
    text = around.format(data.draw(st.from_regex(re.compile(expression, re.ASCII), fullmatch=True)))
    if provider in providers_of_secrets(text):
        assert mask_text(text) != text
