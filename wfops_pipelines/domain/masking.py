"""Masking of values that look like secrets, in every rendering (§8).

A value is masked for one of two reasons:

- **its key** says so (``password``, ``apiKey``, ``Authorization``, the ``value`` of a header named ``X-Api-Key``):
  the whole value goes (``secret_names``). An expression that merely refers (``={{ $env.TOKEN }}``,
  ``=Bearer {{ $json.token }}``) is no secret and stays;
- **its shape** says so (a JWT, ``sk-…``, ``ghp_…``, a PEM private key, ``https://user:password@…``, a secret key inside
  code or inside JSON that stands in a text): the secret part goes, the text around it stays, so that the diff of a long
  script remains readable (``secret_shapes``).

Masking never changes the number of lines of a text, and says nothing about the length or the likeness of what it hides.
It is made to err towards hiding; it is no proof that what is left is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from operator import is_not
from typing import Any, Final

from wfops_pipelines.domain.secret_names import hides, is_secret_key
from wfops_pipelines.domain.secret_shapes import MASKED, hidden_lines, hide_shapes, hide_whole, refers

__all__ = ["MASKED", "hides", "is_secret_key", "mask", "mask_known", "mask_text"]

_SHORT: Final = 400  # characters
_LONG: Final = 20_000
_MAX_DOCUMENT: Final = 1_000_000  # characters of a text that is read as JSON
_MAX_SECRETS: Final = 500  # of one document, each of which is looked for in the whole text


def mask(value: Any, key: str | None = None) -> Any:
    """Any JSON value, where what looks like a secret is ``‹masked›``; ``key`` is the name it stands under. The value itself
    is never changed; what needs no masking is shared with it."""
    return mask_known(value, secret=key is not None and is_secret_key(key))


def mask_known(value: Any, *, secret: bool) -> Any:
    """Like :func:`mask` where the caller knows from the surroundings whether the whole value is a secret."""
    if isinstance(value, str):
        shown = hide_whole(value) if secret else mask_text(value)
        return value if shown == value else shown
    if isinstance(value, Mapping):
        result: dict[Any, Any] = {}
        changed = False
        for key, item in value.items():  # one frame a level: documents may nest hundreds of levels
            name = mask_text(key) if isinstance(key, str) else key
            shown = mask_known(item, secret=hides(value, key, secret=secret))
            changed = changed or shown is not item or name != key
            result[name] = shown
        return result if changed else value
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for item in value:
            items.append(mask_known(item, secret=secret))
        return items if any(map(is_not, items, value)) else value
    if secret and isinstance(value, int | float) and not isinstance(value, bool):
        return MASKED
    return value


def mask_text(text: str) -> str:
    """``text`` with every part masked that is a secret by its shape, or by its key in JSON that the text is; the number
    of lines stays."""
    if len(text) < 8:
        return text
    if len(text) <= _SHORT:
        return _mask_short(text)
    return _mask_long(text) if len(text) <= _LONG else _mask_text(text)


def _mask_text(text: str) -> str:
    shown = _mask_document(text)
    if shown is text and "\n" in text:  # one document a line, or one among lines of something else
        shown = "\n".join(map(_mask_document, text.split("\n")))
    return hide_shapes(shown)


# The names of parameters are few and stand in every node; the same code stands in many workflows. At most some 15 MB.
_mask_short = lru_cache(maxsize=16_384)(_mask_text)
_mask_long = lru_cache(maxsize=512)(_mask_text)


def forget() -> None:
    """Remember no text any longer."""
    _mask_short.cache_clear()
    _mask_long.cache_clear()


def _mask_document(text: str) -> str:
    """JSON in a text (``jsonBody``, ``jsonOutput``) by its keys, its layout as it is."""
    body = text.removeprefix("=").strip()
    if not body.startswith(("{", "[", '"')) or body.startswith("{{") or len(body) > _MAX_DOCUMENT:
        return text
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return text
    secrets = _secrets_in(document)
    if len(secrets) > _MAX_SECRETS:
        return hidden_lines(text)
    for literal, hidden in secrets:
        written = [form for form in (json.dumps(literal, ensure_ascii=False), json.dumps(literal)) if form in text]
        if not written:
            return hidden_lines(text)  # written with escapes of its own: rather too much than the secret
        for form in written:
            text = text.replace(form, json.dumps(hidden, ensure_ascii=False))
    return text


def _secrets_in(document: Any) -> list[tuple[str, str]]:
    """The texts of a document that are not to be shown, longest first, and what is shown for each."""
    found: dict[str, str] = {}
    waiting = [(document, False)]
    while waiting:
        value, secret = waiting.pop()
        if isinstance(value, dict):
            waiting.extend((item, hides(value, key, secret=secret)) for key, item in value.items())
        elif isinstance(value, list):
            waiting.extend((item, secret) for item in value)
        elif isinstance(value, str):
            hidden = hide_whole(value) if secret and not refers(value) else _mask_document(value)
            if hidden != value:
                found[value] = hidden
    return sorted(found.items(), key=lambda pair: -len(pair[0]))
