"""Which names say that what stands under them is a secret: parameter keys, headers, query parameters, variables (§8).

Three answers: the name says so (``password``, ``X-Api-Key``); it says nothing (``url``); or it may be either (``key``,
``code``), and then the value decides, by looking as if a machine had made it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_A-Za-z]+")


def _plain(key: str) -> str:
    """Without accents, full-width forms and characters that nobody sees."""
    if key.isascii():
        return key
    return "".join(c for c in unicodedata.normalize("NFKD", key) if unicodedata.category(c) not in ("Mn", "Cf"))


# Secret wherever they stand in a key, unless its last word says it is about the secret (tokenUrl, passwordField).
_SECRET_WORDS: Final = frozenset({
    "password", "passwords", "passwd", "passphrase", "pwd", "secret", "secrets", "apikey", "apikeys", "authorization",
    "bearer", "cookie", "cookies", "jwt", "privatekey", "accesskey", "secretkey", "authkey", "dsn", "accesstoken",
    "authtoken", "refreshtoken", "bottoken", "pat", "otp", "passcode", "pgpassword", "sshpass", "clientsecret",
    *map(_plain, ("passwort", "kennwort", "contrasena", "senha", "wachtwoord", "пароль", "密码", "密碼",
                  "パスワード", "비밀번호")),
})
_SECRET_LAST: Final = frozenset({"pass", "pw", "credential", "credentials"})  # passThrough and its like are none
_KINDS_OF_KEY: Final = frozenset({
    "api", "access", "private", "secret", "signing", "encryption", "auth", "account", "subscription", "license",
    "master", "service", "shared", "app", "application", "consumer", "rapidapi", "admin", "storage", "sas", "functions",
    "hmac",
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
_EITHER: Final = frozenset({
    "key", "auth", "code", "sig", "sign", "signature", "hmac", "session", "sessionid", "sid", "appid", "login", "hash",
    "tokens",
})
_KEPT_UNDER_SECRET: Final = frozenset({"mode", "type", "__rl", "cachedResultName", "name"})
_PAIR_NAMES: Final = ("name", "key", "parameterName", "headerName", "fieldName", "id", "field", "fieldId", "column",
                      "columnName", "keyName", "property", "propertyName")
_PAIR_VALUES: Final = frozenset({"value", "stringValue", "keyValue", "fieldValue", "columnValue", "propertyValue",
                                 "textValue"})
_COMPARED: Final = {"rightValue": "leftValue", "value2": "value1"}  # n8n's conditions: what is compared with what
_IDENTIFIER: Final = re.compile(r"[\w-]{3,80}")
_MACHINE_MADE: Final = re.compile(r"[A-Za-z0-9+/=_.~:-]{16,4000}")


def _shortest(words: Iterable[str]) -> list[str]:
    """Those that no shorter one is a part of."""
    kept: list[str] = []
    for word in sorted(words, key=len):
        if not any(part in word for part in kept):
            kept.append(word)
    return kept


# Part of every name in ASCII that is a secret's, or may be.
_TELLING: Final = re.compile("|".join(map(re.escape, _shortest(
    word for word in {*_SECRET_WORDS, *_SECRET_LAST, *_EITHER, "key", "string", "token"} if word.isascii()))))


def may_name_secrets(text: str) -> bool:
    """Whether a name that stands anywhere in ``text`` may be a secret's. Where this is false none is, and nobody has to
    look for them: so it is with most texts."""
    return not text.isascii() or _TELLING.search(_squeezed(text)) is not None


def _squeezed(text: str) -> str:
    return text.lower().replace("_", "").replace("-", "")


@lru_cache(maxsize=4096)
def is_secret_key(key: str) -> bool:
    """Whether a parameter, header or field of this name is expected to hold a secret.

    ``accessToken``, ``X-Api-Key`` and ``client_secret`` are; ``tokenUrl``, ``maxTokens`` and ``nextPageToken`` are not.
    """
    if len(key) > 200:
        return False
    words = [word.lower() for word in _WORD.findall(_plain(key))]
    if not words or words[-1] in _HARMLESS_LAST:
        return False
    if any(word in _SECRET_WORDS for word in words) or words[-1] in _SECRET_LAST:
        return True
    for before, word in zip(["", *words], words, strict=False):
        if word == "key" and before in _KINDS_OF_KEY:
            return True
        if word == "string" and before == "connection":
            return True
    last = words[-1]
    return last == "token" and (len(words) < 2 or words[-2] not in _HARMLESS_TOKENS)


def holds_secret(key: str, value: Any) -> bool:
    """Whether ``value`` under ``key`` is a secret, also where the name alone does not say."""
    if is_secret_key(key):
        return True
    if isinstance(value, list | tuple):
        return holds_secrets(key, value)
    return isinstance(value, str) and _squeezed(key) in _EITHER and looks_random(value)


def holds_secrets(key: str, values: Iterable[Any]) -> bool:
    """Whether a list under ``key`` is one of secrets: of ``apiKeys`` each text is; what is named ``tokens`` or ``keys`` may
    also be words or fields, and a text among them has to look like a key."""
    texts = [value for value in islice(values, 1000) if isinstance(value, str)]
    single = _single(key)
    if not texts or single is None:
        return False
    plain = _squeezed(single)
    if plain == "token" or plain in _EITHER:
        return any(map(looks_random, texts))
    return is_secret_key(single)


def _single(key: str) -> str | None:
    """``apiKeys`` → ``apiKey``; none for what is no plural."""
    return key[:-1] if len(key) > 1 and key[-1] in "sS" and key[-2] not in "sS" else None


def looks_random(value: str) -> bool:
    """Whether a word looks like a key that a machine made: long, with letters and digits well mixed."""
    if not _MACHINE_MADE.fullmatch(value) or value.isdigit() or value.isalpha():
        return False
    if re.fullmatch(r"[0-9a-fA-F]{24,}", value):
        return True
    changes = sum(one.isdigit() != other.isdigit() for one, other in pairwise(value))
    return changes >= 3 and any(c.isalpha() for c in value) and "://" not in value and "T00:" not in value


@lru_cache(maxsize=4096)
def _may_hide(key: str) -> bool:
    """Whether there is any value that would be a secret under ``key``, which is not inside of one: under most, none is."""
    names = {key, single} if (single := _single(key)) is not None else {key}
    return key in _PAIR_VALUES or key in _COMPARED or any(
        is_secret_key(name) or _squeezed(name) in _EITHER or _squeezed(name) == "token" for name in names)


def hides(holder: Mapping[Any, Any], key: Any, *, secret: bool) -> bool:
    """Whether the value under ``key`` of ``holder`` is a secret: ``holder`` is all of it one (``secret``; words such as
    ``mode`` only describe it), the key says so, or another field does: the name beside the value of a header, what a
    condition compares with."""
    if not isinstance(key, str) or not (secret or _may_hide(key)):
        return secret
    value = holder.get(key)
    if secret and (key not in _KEPT_UNDER_SECRET or (isinstance(value, str) and looks_random(value))):
        return True
    if holds_secret(key, value):
        return True
    if key in _PAIR_VALUES:
        return any(isinstance(name := holder.get(field), str) and holds_secret(name.strip("= "), value)
                   for field in _PAIR_NAMES)
    compared = holder.get(_COMPARED[key]) if key in _COMPARED else None
    if not isinstance(compared, str) or not isinstance(value, str):
        return False
    return any(map(is_secret_key, _IDENTIFIER.findall(compared[:2000])[-1:]))
