"""Secrets inside text: code, commands, URLs, header lines, SQL, documents in strings (§8).

Each expression finds one way of writing a secret down; what is replaced is the secret alone, never the text around it,
and never the end of a line. All of them are bounded, so that no text takes long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final

from wfops_pipelines.domain.secret_names import holds_secret, holds_secrets, is_secret_key, looks_random, may_name_secrets

MASKED: Final = "‹masked›"

_PROVIDER_SHAPES: Final = (
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",                       # JWT
    r"sk-[\w-]{16,}", r"(?:sk|rk|pk)_(?:live|test)_\w{8,}", r"whsec_[\w+/=]{16,}",  # OpenAI, Anthropic; Stripe
    r"gh[pousr]_\w{20,}", r"github_pat_\w{20,}", r"glpat-[\w-]{16,}", r"npm_\w{30,}", r"do[op]_v1_\w{32,}",
    r"xox[abeoprs]-[\w-]{8,}", r"xapp-[\w-]{16,}",            # Slack
    r"(?:AKIA|ASIA)[0-9A-Z]{16}", r"AIza[\w-]{30,}", r"ya29\.[\w-]{16,}", r"GOCSPX-[\w-]{16,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}", r"key-[0-9a-f]{32}", r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}",
    r"hf_\w{20,}", r"gsk_\w{20,}", r"pplx-\w{20,}", r"r8_\w{30,}", r"xai-\w{20,}", r"tvly-[\w-]{16,}",
    r"apify_api_\w{20,}", r"secret_\w{30,}", r"ntn_\w{30,}",
    r"pat[A-Za-z0-9]{14}\.[0-9a-f]{32,}", r"EAA[A-Za-z0-9]{40,}",
    r"hvs\.[\w-]{20,}", r"lin_api_\w{20,}", r"glsa_\w{20,}", r"dckr_pat_[\w-]{16,}", r"figd_[\w-]{20,}",
    r"sbp_[0-9a-f]{32,}", r"PMAK-[0-9a-f-]{32,}", r"NRAK-[0-9A-Z]{20,}",
    r"pypi-[\w-]{32,}", r"sq0(?:csp|atp)-[\w-]{20,}", r"SK[0-9a-f]{32}",
    r"(?:bot)?\d{8,10}:[\w-]{35}",                            # Telegram bots
)
_QUOTE: Final = r"""(?:\"{3}|'{3}|\\{0,8}["'`])"""  # also inside a string that is JSON inside a string …
_SCHEMES: Final = r"Bearer|Basic|bearer|basic|Token|ApiKey|Api-Key"

_SHAPE: Final = re.compile(r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))(?:" + "|".join(_PROVIDER_SHAPES) + r")(?![A-Za-z0-9_])")
_PEM: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
                         r"(?:(?!-----END )[\s\S]){0,20000}(?:-----END [A-Z0-9 ]{0,40}-----)?")
_SCHEME: Final = re.compile(rf"\b({_SCHEMES})(\s+|%20)([A-Za-z0-9._~+/=-]{{8,}})")
_SCHEME_AND: Final = re.compile(rf"""(\b(?:{_SCHEMES})\s{{0,2}}["'`]\s{{0,4}}[+.]\s{{0,4}}["'`])([^"'`\n]{{4,400}})""")
_BASE64_OF: Final = re.compile(r"""(\b(?:btoa|from|b64encode|base64_encode)\(\s?b?["'`])([^"'`\n]{0,200}:[^"'`\n]{1,400})""")
_USERINFO: Final = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,20}://)([^\s/:@\"'`{}$]{0,200}:[^\s/\"'`{}]{1,200})@")
_USER_ALONE: Final = re.compile(r"(?<=://)([^\s/:@\"'`{}$]{16,200})(?=@)")
_WEBHOOK: Final = re.compile(
    r"(hooks\.slack\.com/(?:services|workflows|triggers)/|discord(?:app)?\.com/api/webhooks/\d{1,24}/"
    r"|\.webhook\.office\.com/webhookb2/|api\.telegram\.org/bot|hooks\.zapier\.com/hooks/catch/"
    r"|hook\.(?:[\w-]{1,12}\.)?(?:make|integromat)\.com/|maker\.ifttt\.com/trigger/[\w-]{1,80}/(?:json/)?with/key/)"
    r"([\w/@:.-]{8,400})")
_QUERY: Final = re.compile(r"([?&#]([\w.-]{1,60})=)([^&\s#\"'`{}<>]{4,2000})")
_ENCODED_QUERY: Final = re.compile(r"((?:%3F|%26)([\w.-]{1,60})%3D)([^&%\s#\"'`{}<>]{4,2000})")
_FORM: Final = re.compile(r"(?<![\w$.-])(([A-Za-z][\w.-]{0,60}+)=)([^\s&;\"'`{}<>$]{4,2000})(?=[&;])")
_VARIABLE: Final = re.compile(r"(?<![\w$])(([A-Z][A-Z0-9_]{2,60}+)=)([^\s\"'`{}$]{6,400})")  # NAME=value of a .env file
_HEADER_LINE: Final = re.compile(r"(?<![\w$])(([A-Za-z][\w-]{2,60}+): ?(?:(?:[Tt]oken|[Bb]ot|[Dd]igest) )?)"
                                 r"([^\s\"'`{}$<>,;()\[\].]{8,400})")
_BARE: Final = re.compile(r"(?<![\w$.-])(([A-Za-z][\w-]{1,60}+)(?:\\{0,8}[\"'])?\s{0,2}[=:]\s{0,2})"
                          r"([^\s\"'`{}$<>&;,()\[\]]{6,400}+)(?!\s?[(\[])")
_OPTION: Final = re.compile(r"(?<![\w-])(--([a-z][\w-]{1,60})[= ][\"']?)([^\s\"'$-][^\s\"']{3,400})")
_USER: Final = re.compile(r"((?<!\S)(?:-u|--user|--proxy-user)[ =]?[\"']?[^\s:\"'{}]{1,100}:)([^\s\"'${}]{1,200})")
_SSHPASS: Final = re.compile(r"(\bsshpass\s{1,4}-p\s?[\"']?)([^\s\"'$]{1,200})")
_SQL: Final = re.compile(r"(\b(?:PASSWORD|IDENTIFIED\s{1,4}BY)\s{1,4}[\"'])([^\"'\n{}]{1,400})", re.IGNORECASE)
_ELEMENT: Final = re.compile(r"(<(?:[\w.-]{1,40}:)?([\w.-]{1,80})(?:\s[^<>]{0,300})?>)([^<>\n{}$]{4,4000})(?=</)")
# name: "value", name = 'value', name: string = "value", x['name'] = "value", x.name === "value": up to the quote.
_ASSIGNED: Final = re.compile(
    rf"""(?<![\w$-])([\w$-]{{1,80}}+)(?:\s?{_QUOTE})?(?:\s?\])?\s{{0,8}}"""
    rf"""(?::(?:\s?[A-Za-z<>|\[\]]{{1,30}}\s?=)?|=>|([=!]==?)|=)(?:\s|\\{{1,8}}[nrt]){{0,8}}({_QUOTE})""")
# setHeader('Authorization', 'value'), environ.get("TOKEN", "value"): up to the second quote.
_ARGUMENT: Final = re.compile(rf"""({_QUOTE})\s?([\w$-]{{1,80}})\s?\1\s{{0,4}},\s{{0,8}}({_QUOTE})""")
_MAX_LITERAL: Final = 4000
# names = ["value", "value"], x["names"]: ('value', 'value'), names = {'a': 'value'}: up to the bracket that opens.
_LISTED: Final = re.compile(
    rf"""(?<![\w$-])([\w$-]{{1,80}}+)(?:(?:\s?{_QUOTE})?(?:\s?\])?\s{{0,8}}(?::(?:\s?[A-Za-z<>|\[\]]{{1,30}}\s?=)?|=>|=)\s{{0,8}}"""
    r"""(?:new Set\()?([\[({]))""")
_CLOSING: Final = {"[": "]", "(": ")", "{": "}"}
_ITEM: Final = re.compile(rf"""({_QUOTE})((?:(?!\1)[^\n]){{1,400}})(\1)""")
# new Stripe("value"), Anthropic('value', …), create_client("value"): what a client is made of, if it looks like a key.
_MADE_OF: Final = re.compile(
    rf"""(?<![\w$])((?:new\s{{1,4}}[\w$.]{{1,120}}|[\w$.]{{0,80}}[Cc]lient|(?:[\w$]{{1,60}}\.){{0,4}}[A-Z][\w$]{{1,60}})"""
    rf"""\(\s{{0,8}})({_QUOTE})([A-Za-z0-9+/=_.~:-]{{16,400}})(?=\2\s{{0,8}}[,)])""")
_NO_CLIENTS: Final = re.compile(r"(?:.*\W)?(?:Date|URL|RegExp|Error|Set|Map|Symbol|String|Number|BigInt|ObjectI[dD]|UUID"
                                r"|Buffer|Decimal|File|Path|Blob|\w*Error)\(\s*", re.DOTALL)
_STATEMENT: Final = re.compile(r"(?<![\w$-])([\w$-]{1,80}+)(\s{0,4}(?::|=(?!=))\s{0,4}[A-Za-z_$(])([^\n;]{1,300})")
_ALTERNATIVE: Final = re.compile(r"""((?:\|\||\?\?|\bor|\?:|[?:+])\s{0,4}(["'`]))([^"'`\n]{6,400})(?=\2)""")
_NAME: Final = (rf"""{_QUOTE}(?:name|key|id|field|column)\\{{0,8}}["']\s{{0,4}}:"""
                r"""\s{0,4}\\{0,8}["']\s?([\w$-]{1,80})\s?""")
_NAMED_PAIR: Final = re.compile(
    rf"""({_NAME}\\{{0,8}}["']\s{{0,4}},\s{{0,8}}\\{{0,8}}["']value\\{{0,8}}["']\s{{0,4}}:\s{{0,4}}\\{{0,8}}["'])"""
    r"""([^"'\\\n]{1,4000})""")
_EXPRESSION: Final = re.compile(r"\{\{(?:(?!\{\{|\}\})[\s\S])*\}\}")
_LITERAL: Final = re.compile(r"""(["'`])((?:(?!\1)[^\\\n]|\\.){1,2000})\1""")
_BEFORE_NAME: Final = re.compile(r"(?:\[|\$\w*\()\s*$")
_ONLY_REFERS: Final = re.compile(r"=?\s*(?:Bearer|Basic|Token|ApiKey|Api-Key|bearer|basic|token)?[\s,;:.\"'/|_-]*")
_CHAIN: Final = re.compile(r"[A-Za-z_$][\w$]*(?:\??\.[A-Za-z_$][\w$]*)*[!?.:]*")
_SHORT_NAMES: Final = frozenset({"key", "sig", "signature", "auth", "x-amz-signature", "x-goog-signature"})


def hide_shapes(text: str) -> str:
    """``text`` with everything masked that is written like a secret; the number of lines stays.

    Done again until nothing is left to do: what one expression hides may be what another one needs to see the next.
    """
    for _ in range(4):
        shown = _hide_once(text)
        if shown == text:
            break
        text = shown
    return text


def _hide_once(text: str) -> str:
    for hide in _steps_of(frozenset([sign for sign in _SIGNS if sign in text]), may_name_secrets(text)):
        text = hide(text)
    return text


@lru_cache(maxsize=4096)
def _steps_of(signs: frozenset[str], named: bool) -> tuple[Callable[[str], str], ...]:
    """The steps that a text with these signs, and no others, is put through; ``named`` is whether it may name secrets."""
    return tuple(hide for needed, shape, hide in _STEPS
                 if (not needed or not needed.isdisjoint(signs)) and (named or shape not in _BY_NAME))


def _hide_literals(text: str, opening: re.Pattern[str], is_secret: Callable[[re.Match[str], str], bool]) -> str:
    """Every quoted text that ``is_secret`` says is one. What is none is looked into: code in JSON in code."""
    pieces, shown, at = [], 0, 0
    while found := opening.search(text, at):
        at = found.end()
        value = text[at:_end_of_literal(text, at, found[found.re.groups])]
        if value and is_secret(found, value):
            pieces += [text[shown:at], MASKED]
            at = shown = at + len(value)
    return "".join([*pieces, text[shown:]])


def _end_of_literal(text: str, start: int, quote: str) -> int:
    """Where the text that opened with ``quote`` closes, else where its line ends."""
    line = text.find("\n", start, start + _MAX_LITERAL)
    limit = line if line >= 0 else min(len(text), start + _MAX_LITERAL)
    end = text.find(quote, start, limit)
    while end > 0 and text[end - 1] == "\\":
        end = text.find(quote, end + 1, limit)
    return end if end >= 0 else limit


def _is_assigned_secret(found: re.Match[str], value: str) -> bool:
    return holds_secret(found[1], value) and not refers(value) and (not found[2] or len(value) >= 6)


def _is_secret_argument(found: re.Match[str], value: str) -> bool:
    """A list of field names looks the same: here the value has to look like a secret too."""
    return is_secret_key(found[2]) and _is_token(value) and " " not in value and not refers(value)


def _hide_lists(text: str) -> str:
    """``tokens = ["value", "value"]``: the texts of a list under a secret name. Names and types in an object are shown."""
    pieces, shown, at = [], 0, 0
    while found := _LISTED.search(text, at):
        at = found.end()
        end = text.find(_CLOSING[found[2]], at, at + _MAX_LITERAL)
        body = text[at:end if end >= 0 else at + _MAX_LITERAL]
        hidden = _hide_items(found[1], body, certain=found[2] != "{")
        if hidden != body:
            pieces += [text[shown:at], hidden]
            at = shown = at + len(body)
    return "".join([*pieces, text[shown:]])


def _hide_items(name: str, body: str, *, certain: bool) -> str:
    texts = [item[2] for item in _ITEM.finditer(body)]
    if not texts or not (is_secret_key(name) or holds_secrets(name, texts)):
        return body
    certain = certain and is_secret_key(name)

    def hidden(item: re.Match[str]) -> str:
        secret = looks_random(item[2]) or ((certain or _is_header_token(item[2])) and _is_token(item[2]))
        return item[1] + MASKED + item[3] if secret and not refers(item[2]) else item[0]

    return _ITEM.sub(hidden, body)


def _hide_alternatives(found: re.Match[str]) -> str:
    """``token = process.env.TOKEN || "value"``: what stands in for the one that is only referred to."""
    if not is_secret_key(found[1]):
        return found[0]
    return found[1] + found[2] + _ALTERNATIVE.sub(lambda m: m[0] if refers(m[3]) else m[1] + MASKED, found[3])


def hide_whole(text: str) -> str:
    """The value of a secret key: hidden whole, unless it only refers to where the secret is."""
    if text.strip() in ("", MASKED):
        return text
    if not refers(text):
        return hidden_lines(text)
    return hide_shapes(_EXPRESSION.sub(lambda expression: _LITERAL.sub(_hide_literal, expression[0]), text))


def hidden_lines(text: str) -> str:
    """As many lines as ``text`` has, all hidden."""
    return "\n".join([MASKED] * (text.count("\n") + 1))


def refers(text: str) -> bool:
    """``={{ $json.token }}``, ``=Bearer {{ $env.T }}``, ``${token}``: it names where the secret is, and holds none."""
    if "{{" in text:
        return _ONLY_REFERS.fullmatch(_EXPRESSION.sub("", text)) is not None
    if "${" in text:
        return _ONLY_REFERS.fullmatch(re.sub(r"\$\{[^}]{0,500}\}", "", text)) is not None
    return False


def _hide_literal(literal: re.Match[str]) -> str:
    """A text inside an expression, unless it names a field or a node: ``$json['token']``, ``$('Get token')``."""
    before = literal.string[max(0, literal.start() - 40):literal.start()]
    return literal[0] if _BEFORE_NAME.search(before) else f"{literal[1]}{MASKED}{literal[1]}"


def _secret_query(name: str, value: str) -> bool:
    """A query parameter whose name, or the ``key=`` and ``sig=`` of so many APIs, holds a secret."""
    return holds_secret(name, value) or (name.lower() in _SHORT_NAMES and len(value) >= 8)


def _is_token(word: str) -> bool:
    """Tells ``Bearer abc123…`` from prose such as "Basic understanding"."""
    return any(c.isdigit() for c in word) or "=" in word or (len(word) >= 16 and any(c.isupper() for c in word[1:]))


def _is_header_token(word: str) -> bool:
    """Letters alone are a name: ``privateKey: outputPrivateKey`` in code."""
    return _is_token(word) and not word.isalpha()


def _is_bare_secret(value: str) -> bool:
    """Without quotes, a name in code (``token = config.token2``) looks much like a secret."""
    return looks_random(value) or (_CHAIN.fullmatch(value) is None and _is_token(value))


_Step = tuple[frozenset[str], re.Pattern[str], Callable[[str], str]]


def _step(signs: Iterable[str], shape: re.Pattern[str], hide: str | Callable[[re.Match[str]], str]) -> _Step:
    return frozenset(signs), shape, partial(shape.sub, hide)


_QUOTES: Final = "\"'`"
_STEPS: Final[tuple[_Step, ...]] = (
    _step(["-----BEGIN "], _PEM, lambda m: hidden_lines(m[0])),
    _step([], _SHAPE, MASKED),
    _step([], _SCHEME, lambda m: m[1] + m[2] + MASKED if _is_token(m[3]) else m[0]),
    *(_step(signs, always, rf"\1{MASKED}") for signs, always in (
        (_QUOTES, _SCHEME_AND), (_QUOTES, _BASE64_OF), ("/", _WEBHOOK), (["-u"], _USER), (["sshpass"], _SSHPASS),
        (_QUOTES, _SQL))),
    _step(["://"], _USERINFO, rf"\1{MASKED}@"),
    _step(["://"], _USER_ALONE, lambda m: MASKED if looks_random(m[1]) else m[0]),
    *(_step(signs, query, lambda m: m[1] + MASKED if _secret_query(m[2], m[3]) else m[0]) for signs, query in (
        ("=", _QUERY), (["%3D"], _ENCODED_QUERY))),
    _step("=", _FORM, lambda m: m[1] + MASKED if is_secret_key(m[2]) and _is_token(m[3]) else m[0]),
    _step("=", _VARIABLE, lambda m: m[1] + MASKED if is_secret_key(m[2]) else m[0]),
    _step(":", _HEADER_LINE, lambda m: m[1] + MASKED if is_secret_key(m[2]) and _is_header_token(m[3]) else m[0]),
    _step("=:", _BARE, lambda m: m[1] + MASKED if holds_secret(m[2], m[3]) and _is_bare_secret(m[3]) else m[0]),
    _step(["--"], _OPTION, lambda m: m[1] + MASKED if is_secret_key(m[2]) else m[0]),
    _step(["</"], _ELEMENT, lambda m: m[1] + MASKED if is_secret_key(m[2]) else m[0]),
    _step(_QUOTES, _NAMED_PAIR, lambda m: m[1] + MASKED if holds_secret(m[2], m[3]) and not refers(m[3]) else m[0]),
    (frozenset("[({"), _LISTED, _hide_lists),
    _step(_QUOTES, _MADE_OF,
          lambda m: m[1] + m[2] + MASKED if looks_random(m[3]) and not _NO_CLIENTS.fullmatch(m[1]) else m[0]),
    (frozenset(_QUOTES), _ASSIGNED, partial(_hide_literals, opening=_ASSIGNED, is_secret=_is_assigned_secret)),
    (frozenset(_QUOTES), _ARGUMENT, partial(_hide_literals, opening=_ARGUMENT, is_secret=_is_secret_argument)),
    _step("=:", _STATEMENT, _hide_alternatives),
)
"""What is hidden, in this order. Each expression has signs, one of which is in every text that it finds: most texts have
few of them, and are not searched for the rest."""
# What these find counts under a secret's name alone.
_BY_NAME: Final = frozenset({_QUERY, _ENCODED_QUERY, _FORM, _VARIABLE, _HEADER_LINE, _BARE, _OPTION, _ELEMENT, _NAMED_PAIR,
                             _LISTED, _ASSIGNED, _ARGUMENT, _STATEMENT})
_SIGNS: Final = tuple(sorted(frozenset().union(*(needed for needed, _, _ in _STEPS))))
