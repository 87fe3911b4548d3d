"""The steps in which secrets are hidden in text (§8): none is left out where it would find something."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from wfops_pipelines.domain import secret_shapes

# Fragments of which texts are made that one expression or another finds.
_FRAGMENTS = [
    "password", "token", "Authorization", "API_KEY", "secret", "name", "value", "Bearer", "Basic ", "PASSWORD", "IDENTIFIED BY",
    "user", "hunter2-99", "abcDEF0123456789abcDEF", "https", "://", "@", ":", "=", "=>", "!==", "?", "&", "%3F", "%26", "%3D",
    ";", ",", " ", "\n", "\\", "\\n", '"', "'", "`", "(", ")", "[", "]", "{", "}", "<password>", "</", "--", "-u ", "--user ",
    "--proxy-user=", "sshpass -p ", "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "btoa(", "new Stripe(",
    "hooks.slack.com/services/", "api.telegram.org/bot", "$json", "||", "+", ".", "x",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join))
def test_leaving_steps_out_hides_no_less(text: str) -> None:
    shown = text
    for _, _, hide in secret_shapes._STEPS:
        shown = hide(shown)
    assert secret_shapes._hide_once(text) == shown


@settings(max_examples=500)
@given(st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join))
def test_an_expression_finds_nothing_in_a_text_without_its_signs(text: str) -> None:
    for signs, shape, _ in secret_shapes._STEPS:
        assert not signs or any(sign in text for sign in signs) or not shape.search(text)


def test_a_step_adds_no_sign_of_another() -> None:
    assert not any(sign in secret_shapes.MASKED for sign in secret_shapes._SIGNS)
