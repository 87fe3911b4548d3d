"""Notices as messages (§16): a title, a plain text and one short line, each with a link; and several as one digest.

Everything that came from outside is masked and freed of what nobody sees (``shown``), once, before it gets here into a
line; what is marked as ours is shown as it is. The link is ours and is never cut.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from wfops_pipelines.domain.incident import Severity
from wfops_pipelines.domain.notices import Notice
from wfops_pipelines.domain.shown import Ours, cut, one_line, plain_text

TITLE_LIMIT: Final = 150
SHORT_LIMIT: Final = 280
BODY_LIMIT: Final = 20_000
_VALUE_LIMIT: Final = 1000

_MARKS: Final = {Severity.CRITICAL: "🔴", Severity.HIGH: "🟠", Severity.MEDIUM: "🟡", Severity.LOW: "🔵"}
_GOOD: Final = "✅"


@dataclass(frozen=True, slots=True)
class Message:
    """A rendered notice, as the outbox keeps it: ``title`` (a mail's subject), ``body`` (plain text), ``short`` (one line
    for chats and SMS, the link at its end), ``link`` where a base URL is set, the severity's word, and a ``picture`` (SVG)
    where one says more, for receivers that take files."""

    title: str
    body: str
    short: str
    link: str | None
    severity: str
    picture: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain JSON with the fields' names as keys."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Message:
        """What :meth:`as_json` wrote."""
        return cls(stored["title"], stored["body"], stored["short"], stored.get("link"), stored["severity"],
                   stored.get("picture"))


def mark(severity: Severity, *, good: bool = False) -> str:
    """The one character that shows how bad it is, or that it is good news."""
    return _GOOD if good else _MARKS[severity]


def render(notice: Notice, base_url: str | None = None) -> Message:
    """A notice as a message. ``base_url`` is that of the Dagster UI; without one there is no link."""
    link = link_to(base_url, notice.tenant, notice.environment)
    headline = one_line(notice.headline())
    sign = mark(notice.severity, good=notice.good)
    word = "" if notice.good else f"[{notice.severity.value}] "
    lines = [f"{sign} {headline}", ""]
    for label, value in notice.details():
        lines.append(f"{label}: {value if isinstance(value, Ours) else one_line(value, _VALUE_LIMIT)}")
    return Message(cut(f"{word}{headline}", TITLE_LIMIT), _with_link("\n".join(lines), link),
                   _short(f"{sign} {headline}", link), link, notice.severity.value)


def digest(messages: Sequence[Message], base_url: str | None = None) -> Message:
    """Several messages (one at least) as one, in their order: how many of each severity, then each with its own text.

    What goes beyond :data:`BODY_LIMIT` characters is only counted; titles come before texts, so none of them is lost
    before the texts are.
    """
    if len(messages) == 1:
        return messages[0]
    worst = max(Severity(message.severity) for message in messages)
    counts = Counter(message.severity for message in messages)
    tally = ", ".join(f"{counts[s.value]} {s.value}" for s in sorted(Severity, reverse=True) if counts[s.value])
    link = link_to(base_url, None, None)
    headline = f"{len(messages)} messages of WorkflowOps: {tally}"
    lines = [f"{mark(worst)} {headline}", "", *_within(
        [f"{number}. {message.title}" for number, message in enumerate(messages, 1)], BODY_LIMIT // 2)]
    room = BODY_LIMIT - sum(len(line) + 1 for line in lines)
    texts = _within([f"\n--- {number} ---\n{message.body}" for number, message in enumerate(messages, 1)], room)
    text = plain_text("\n".join([*lines, *texts]))
    return Message(cut(f"[{worst.value}] {headline}", TITLE_LIMIT), _with_link(text, link),
                   _short(f"{mark(worst)} {headline}", link), link, worst.value)


def link_to(base_url: str | None, tenant: str | None, environment: str | None) -> str | None:
    """The page of the Dagster UI that shows the drift of an environment, else the front page; user and password that a
    base URL may hold are left out."""
    if not base_url:
        return None
    parts = urlsplit(base_url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    base = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if tenant is None or environment is None:
        return base or None
    return f"{base}/assets/drift_report?view=partitions&partition={quote(f'{environment}|{tenant}', safe='')}"


def dedupe_key(notice: Notice, target: str) -> str:
    """Equal for the same event of the same thing to the same target, and for nothing else: however often it is written or
    sent, the outbox keeps one, and receivers can drop repeats. 32 hexadecimal digits."""
    parts = [notice.tenant, str(notice.event or "test"), notice.subject, notice.occurrence, target]
    return _digest_of(parts)


def digest_key(keys: Sequence[str]) -> str:
    """The key of a digest, from those of its messages in their order."""
    return keys[0] if len(keys) == 1 else _digest_of(["digest", *keys])


def _digest_of(parts: Sequence[str]) -> str:
    # Each part with its length, so that no two lists of parts read the same.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _with_link(text: str, link: str | None) -> str:
    """``text``, which is masked, with the link."""
    if len(text) > BODY_LIMIT:
        text = text[:BODY_LIMIT].rstrip() + "\n… (cut)"
    return f"{text}\n\n{link}\n" if link else f"{text}\n"


def _short(line: str, link: str | None) -> str:
    """``line``, which is masked, with the link."""
    if link is None or len(link) > SHORT_LIMIT - 40:
        return cut(line, SHORT_LIMIT)
    return f"{cut(line, SHORT_LIMIT - len(link) - 1)} {link}"


def _within(texts: Sequence[str], room: int) -> list[str]:
    """As many of the texts, from the first, as fit; the others are counted."""
    shown: list[str] = []
    for text in texts:
        room -= len(text) + 1
        if room < 0:
            return [*shown, f"… and {len(texts) - len(shown)} more"]
        shown.append(text)
    return shown
