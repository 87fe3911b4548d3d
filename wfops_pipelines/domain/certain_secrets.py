"""Secrets in a text that are certain: keys of a provider's own form, whole, and not made up for an example (§11.5).

Masking (``secret_shapes``) errs towards hiding; what stops a promotion must err towards silence. So only forms that their
provider issues exactly so count here, and none that repeats itself or says that somebody is to fill it in. Each of them is
masked, too: where masking finds nothing, there is nothing certain.
"""

from __future__ import annotations

import re
from typing import Final

FORMS: Final = {
    "Anthropic": r"sk-ant-[a-z0-9]{3,8}-[\w-]{60,}",
    "OpenAI": r"sk-(?:proj|svcacct|admin)-[\w-]{40,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|sk-[A-Za-z0-9]{48}",
    "OpenRouter": r"sk-or-v1-[0-9a-f]{64}",
    "Stripe": r"(?:sk|rk)_live_[A-Za-z0-9]{24,}",
    "GitHub": r"gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    "GitLab": r"glpat-[\w-]{20}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "Slack": r"xox[abprs]-[0-9]{9,}-[A-Za-z0-9-]{20,}",
    "a Slack webhook": r"hooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{24}",
    "a Discord webhook": r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[\w-]{60,80}",
    "Google": r"AIza[\w-]{35}|GOCSPX-[\w-]{28}",
    "SendGrid": r"SG\.[\w-]{22}\.[\w-]{43}",
    "Shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Hugging Face": r"hf_[A-Za-z0-9]{34}",
    "Groq": r"gsk_[A-Za-z0-9]{52}",
    "Telegram": r"(?:bot)?[0-9]{8,10}:AA[\w-]{33}",
    "Airtable": r"pat[A-Za-z0-9]{14}\.[0-9a-f]{64}",
    "Notion": r"ntn_[A-Za-z0-9]{43,50}",
    "DigitalOcean": r"do[op]_v1_[0-9a-f]{64}",
}
_KEY: Final = re.compile("|".join(
    rf"(?<![A-Za-z0-9_-])(?P<f{index}>{form})(?![A-Za-z0-9_-])" for index, form in enumerate(FORMS.values())))
# One of these stands in every key above: looked for first, since most texts have none and all are looked through.
_HINTS: Final = (
    "sk-", "_live_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "npm_", "xox", "hooks.slack",
    "/webhooks/", "AIza", "GOCSPX-", "SG.", "shpat_", "shpca_", "shppa_", "shpss_", "hf_", "gsk_", ":AA", "pat", "ntn_",
    "_v1_", "PRIVATE KEY",
)
_PROVIDERS: Final = tuple(FORMS)
_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z]{2,10} )?PRIVATE KEY-----((?:[A-Za-z0-9+/=\s]|\\[nr]){200,20000})-----END ")
_MADE_UP: Final = re.compile(
    r"x{5}|your|example|placeholder|dummy|redacted|0123456|1234567|abcdefgh|\.\.\.", re.IGNORECASE)
_FILLED_IN_LATER: Final = re.compile(
    r"x{3}|\*{3}|\.\.\.|…|<[^<>]{1,60}>|\[[^\[\]]{1,60}\]|your|my[_-]|example|placeholder|dummy|change.?me|insert|enter"
    r"|replace|fill|todo|sample|redacted|123456|_here|abc123", re.IGNORECASE)
_FEWEST: Final = 12  # different characters that a key a machine made has at least


def providers_of_secrets(text: str) -> tuple[str, ...]:
    """Whose secrets ``text`` certainly holds (``GitHub``, ``a private key``), each once, in order; never the secrets."""
    if len(text) < 20:
        return ()
    for hint in _HINTS:  # a loop: of all that planning does with a text, this is done most often
        if hint in text:
            break
    else:
        return ()
    found = dict.fromkeys(
        _PROVIDERS[int(match.lastgroup[1:])] for match in _KEY.finditer(text)
        if match.lastgroup is not None and _is_real(match[0]))
    if any(_is_real(match[1]) for match in _PEM.finditer(text)):
        found["a private key"] = None
    return tuple(found)


def is_placeholder(text: str) -> bool:
    """Whether a short text says itself that something is to be filled in: ``YOUR_API_KEY``, ``<token>``, ``xxxxx``."""
    return len(text) <= 200 and _FILLED_IN_LATER.search(text) is not None


def _is_real(key: str) -> bool:
    return _MADE_UP.search(key) is None and len(set(key)) >= _FEWEST and any(map(str.isdigit, key))
