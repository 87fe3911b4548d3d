"""Masking of values that look like secrets, in every rendering (§8).

A value is masked for one of two reasons:

- **its key** says so (``password``, ``apiKey``, ``Authorization``, the ``value`` of a header named ``X-Api-Key``):
  the whole value goes. An expression that merely refers (``={{ $env.TOKEN }}``, ``=Bearer {{ $json.token }}``) is no
  secret and stays;
- **its shape** says so (a JWT, ``sk-…``, ``ghp_…``, a PEM private key, ``https://user:password@…``): the secret part
  goes, the text around it stays, so that the diff of a long script remains readable.

Masking never changes the number of lines of a text, and says nothing about the length or the likeness of what it hides.
It is made to err towards hiding; it is no proof that what is left is harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MASKED: Final = "‹masked›"

# Secret wherever they stand in a key, unless its last word says it is about the secret (tokenUrl, passwordField).
_SECRET_WORDS: Final = frozenset({
    "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "apikey", "apikeys", "authorization",
    "bearer", "cookie", "cookies", "jwt", "privatekey", "accesskey", "secretkey", "authkey", "dsn", "accesstoken",
    "authtoken", "refreshtoken", "bottoken", "pat", "otp", "passcode",
})
_KINDS_OF_KEY: Final = frozenset({
    "api", "access", "private", "secret", "signing", "encryption", "auth", "account", "subscription", "license",
    "master", "service", "shared", "app", "application", "consumer", "rapidapi", "admin", "storage", "sas", "functions",
})
_HARMLESS_LAST: Final = frozenset({
    "url", "uri", "endpoint", "type", "name", "field", "id", "count", "length", "limit", "expiry", "expires",
    "expiration", "mode", "prefix", "path", "location", "header", "method", "enabled", "required", "placement",
    "version", "policy",
    "description", "label", "usage", "format", "column", "property", "strategy", "ref", "reference",
})
_HARMLESS_TOKENS: Final = frozenset({  # nextPageToken and its like are cursors, not keys
    "page", "next", "continuation", "cursor", "start", "stop", "end", "sync", "max", "min", "num", "per", "skip",
})
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_PROVIDER_SHAPES: Final = (
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",                       # JWT
    r"sk-[\w-]{16,}", r"(?:sk|rk|pk)_(?:live|test)_\w{8,}", r"whsec_[\w+/=]{16,}",  # OpenAI, Anthropic; Stripe
    r"gh[pousr]_\w{20,}", r"github_pat_\w{20,}", r"glpat-[\w-]{16,}", r"npm_\w{30,}", r"dop_v1_\w{32,}",
    r"xox[abeoprs]-[\w-]{8,}", r"xapp-[\w-]{16,}",            # Slack
    r"(?:AKIA|ASIA)[0-9A-Z]{16}", r"AIza[\w-]{30,}", r"ya29\.[\w-]{16,}", r"GOCSPX-[\w-]{16,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}", r"key-[0-9a-f]{32}", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}",
    r"hf_\w{20,}", r"gsk_\w{20,}", r"pplx-\w{20,}", r"r8_\w{30,}", r"xai-\w{20,}", r"tvly-[\w-]{16,}",
    r"apify_api_\w{20,}", r"secret_\w{30,}", r"ntn_\w{30,}",
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{32,}", r"EAA[A-Za-z0-9]{40,}",
    r"\d{8,10}:[\w-]{35}",                                    # Telegram bots
)
_SHAPE: Final = re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_PROVIDER_SHAPES) + r")(?![A-Za-z0-9_])")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
                         r"(?:(?!-----END )[\s\S]){0,20000}(?:-----END [A-Z0-9 ]{0,40}-----)?")
_SCHEME: Final = re.compile(r"\b(Bearer|Basic|bearer|basic|Token|ApiKey|Api-Key)(\s+|%20)([A-Za-z0-9._~+/=-]{8,})")
_USERINFO: Final = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,20}://)([^\s/:@\"'`{}$]{0,200}:[^\s/@\"'`{}]{1,200})@")
_WEBHOOK: Final = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/\d{1,24}/"
    r"|\.webhook\.office\.com/webhookb2/|api\.telegram\.org/bot)([\w/@:.-]{8,400})")
_QUERY: Final = re.compile(r"([?&]([\w.-]{1,60})=)([^&\s#\"'`{}<>]{4,2000})")
_VARIABLE: Final = re.compile(r"(?<![\w$])(([A-Z][A-Z0-9_]{2,60})=)([^\s\"'`{}$]{6,400})")  # NAME=value of a .env file
_HEADER_LINE: Final = re.compile(r"(?<![\w$])(([A-Za-z][\w-]{2,60}): ?)([^\s\"'`{}$<>,;()\[\].]{8,400})")
# name: "value", "name": "value", name = 'value', also inside JSON that is itself a string (\"name\": \"value\").
_ASSIGNED: Final = re.compile(
    r"""(?<![\w$-])([\w$-]{1,80})((?:\\?["'])?\s{0,8}(?::|=>|=)\s{0,8}(\\?["'`]))((?:(?!\3)[^\n]){1,4000}?)(?=\3)""")
_NAMED_PAIR: Final = re.compile(
    r"""(["']name\\?["']\s{0,4}:\s{0,4}\\?["']([\w$-]{1,80})\\?["']\s{0,4},\s{0,8}\\?["']value\\?["']"""
    r"""\s{0,4}:\s{0,4}\\?["'])([^"'\\\n]{1,4000})""")
_EXPRESSION: Final = re.compile(r"\{\{(?:(?!\{\{|\}\})[\s\S])*\}\}")
_LITERAL: Final = re.compile(r"""(["'`])((?:(?!\1)[^\\\n]|\\.){1,2000})\1""")
_BEFORE_NAME: Final = re.compile(r"(?:\[|\$\w*\()\s*$")
_ONLY_REFERS: Final = re.compile(r"=?\s*(?:Bearer|Basic|Token|ApiKey|Api-Key|bearer|basic|token)?[\s,;:.\"'/|_-]*")
_PAIR_NAMES: Final = ("name", "key", "parameterName", "headerName", "fieldName")
_KEPT_UNDER_SECRET: Final = frozenset({"mode", "type", "__rl", "cachedResultName", "name"})


def is_secret_key(key: str) -> bool:
    """Whether a parameter, header or field of this name is expected to hold a secret.

    ``accessToken``, ``X-Api-Key`` and ``client_secret`` are; ``tokenUrl``, ``maxTokens`` and ``nextPageToken`` are not.
    """
    if len(key) > 200:
        return False
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in _HARMLESS_LAST:
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    for before, word in zip(["", *words], words, strict=False):
        if word == "key" and before in _KINDS_OF_KEY:
            return True
        if word == "string" and before == "connection":
            return True
    last = words[-1]
    return last == "token" and (len(words) < 2 or words[-2] not in _HARMLESS_TOKENS)


def pair_is_secret(value: Mapping[Any, Any]) -> bool:
    """Whether ``value`` is one of n8n's name and value pairs (header, query parameter, …) with a secret name."""
    if "value" not in value:
        return False
    return any(isinstance(name := value.get(field), str) and is_secret_key(name) for field in _PAIR_NAMES)


def secret_below(secret: bool, key: Any) -> bool:
    """Whether what stands under ``key`` is a secret: by its name, or because its parent is (words such as ``mode`` that
    only describe the secret are none)."""
    if not isinstance(key, str):
        return secret
    return (secret and key not in _KEPT_UNDER_SECRET) or is_secret_key(key)


def mask(value: Any, key: str | None = None) -> Any:
    """A copy of any JSON value where what looks like a secret is ``‹masked›``; ``key`` is the name it stands under."""
    return mask_known(value, secret=key is not None and is_secret_key(key))


def mask_known(value: Any, *, secret: bool) -> Any:
    """Like :func:`mask` where the caller knows from the surroundings whether the whole value is a secret."""
    if isinstance(value, str):
        return _mask_secret_text(value) if secret else mask_text(value)
    if isinstance(value, Mapping):
        pair = pair_is_secret(value)
        result: dict[Any, Any] = {}
        for key, item in value.items():  # one frame a level: documents may nest hundreds of levels
            hidden = secret_below(secret, key) or (pair and key == "value")
            result[_mask_key(key)] = mask_known(item, secret=hidden)
        return result
    if isinstance(value, list | tuple):
        items: list[Any] = []
        for item in value:
            items.append(mask_known(item, secret=secret))
        return items
    if secret and isinstance(value, int | float) and not isinstance(value, bool):
        return MASKED
    return value


def mask_text(text: str) -> str:
    """``text`` with every part masked that has the shape of a secret; the number of lines stays."""
    if len(text) < 8:
        return text
    text = _PEM.sub(_hidden_lines, text)
    text = _SHAPE.sub(MASKED, text)
    text = _SCHEME.sub(lambda m: m[1] + m[2] + MASKED if _is_token(m[3]) else m[0], text)
    text = _USERINFO.sub(rf"\1{MASKED}@", text)
    text = _WEBHOOK.sub(rf"\1{MASKED}", text)
    text = _QUERY.sub(lambda m: m[1] + MASKED if _secret_query(m[2], m[3]) else m[0], text)
    text = _VARIABLE.sub(lambda m: m[1] + MASKED if is_secret_key(m[2]) else m[0], text)
    text = _HEADER_LINE.sub(lambda m: m[1] + MASKED if is_secret_key(m[2]) and _is_token(m[3]) else m[0], text)
    text = _NAMED_PAIR.sub(lambda m: m[1] + MASKED if is_secret_key(m[2]) and not _refers(m[3]) else m[0], text)
    return _ASSIGNED.sub(lambda m: m[1] + m[2] + MASKED if is_secret_key(m[1]) and not _refers(m[4]) else m[0], text)


def _mask_key(key: Any) -> Any:
    return mask_text(key) if isinstance(key, str) else key


def _mask_secret_text(text: str) -> str:
    """The value of a secret key: hidden whole, unless it only refers to where the secret is."""
    if text.strip() in ("", MASKED):
        return text
    if not _refers(text):
        return _hidden_lines_of(text)
    return mask_text(_EXPRESSION.sub(lambda expression: _LITERAL.sub(_mask_literal, expression[0]), text))


def _mask_literal(literal: re.Match[str]) -> str:
    """A text inside an expression, unless it names a field or a node: ``$json['token']``, ``$('Get token')``."""
    before = literal.string[max(0, literal.start() - 40):literal.start()]
    return literal[0] if _BEFORE_NAME.search(before) else f"{literal[1]}{MASKED}{literal[1]}"


def _refers(text: str) -> bool:
    """``={{ $json.token }}``, ``=Bearer {{ $env.T }}``, ``${token}``: it names where the secret is, and holds none."""
    if "{{" in text:
        return _ONLY_REFERS.fullmatch(_EXPRESSION.sub("", text)) is not None
    if "${" in text:
        return _ONLY_REFERS.fullmatch(re.sub(r"\$\{[^}]{0,500}\}", "", text)) is not None
    return False


def _secret_query(name: str, value: str) -> bool:
    """A query parameter whose name, or the ``key=`` and ``sig=`` of so many APIs, holds a secret."""
    return is_secret_key(name) or (name.lower() in {"key", "sig", "signature", "auth"} and len(value) >= 8)


def _is_token(word: str) -> bool:
    """Tells ``Bearer abc123…`` from prose such as "Basic understanding"."""
    return any(c.isdigit() for c in word) or "=" in word or (len(word) >= 16 and any(c.isupper() for c in word[1:]))


def _hidden_lines(match: re.Match[str]) -> str:
    return _hidden_lines_of(match[0])


def _hidden_lines_of(text: str) -> str:
    return "\n".join([MASKED] * (text.count("\n") + 1))
