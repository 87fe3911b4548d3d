"""What went wrong, read from what apprise logged: it answers "no" to everything, and its log alone says why.

The lines are read and thrown away: they hold URLs, and words of the server that no error of ours repeats.

================================================  ==========================================
HTTP 401, 403, 407; SMTP 530, 534, 535, 538       ``Refused``
HTTP 404, 410                                     ``NotFound``
HTTP 408, 425, 429, 5xx; SMTP 4xx                 ``Unreachable``: try again
any other HTTP status, also 2xx of a body saying  ``Rejected``
no; SMTP 5xx; a feature the server lacks
no status at all: refused, reset, TLS, time out   ``Unreachable``: try again
================================================  ==========================================
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from wfops_pipelines.domain.errors import NotFound, OutsideError, Refused, Rejected, Unreachable

_HTTP: Final = re.compile(r"\berror=(\d{3})\b")
_SMTP: Final = re.compile(r"(?:Socket Exception: [^\n]{0,400}?\(|was refused: )(\d{3})(?:, b| )")
_NOT_SUPPORTED: Final = re.compile(r"Socket Exception: (?:STARTTLS|SMTP AUTH)\b.* not supported")
_NOBODY: Final = re.compile(r"There are no Email recipients")
_TLS: Final = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError|\[SSL", re.IGNORECASE)


def failure(lines: Sequence[str], target: str) -> OutsideError:
    """The error that the lines of one failed attempt stand for; ``target`` is shown and must be masked already."""
    text = "\n".join(lines)
    if _NOBODY.search(text):
        return Rejected("there is nobody to send to", target=target, fix="put a recipient into its URL")
    if _NOT_SUPPORTED.search(text):
        return Rejected("the mail server does not offer what the URL asks for (STARTTLS or a login)", target=target,
                        fix="check the scheme (mailto, mailtos) and mode= of its URL")
    codes = [int(code) for code in _SMTP.findall(text)]
    if codes:
        return _of_smtp(codes, target)
    statuses = [int(status) for status in _HTTP.findall(text)]
    if statuses:
        return _of_http(statuses[-1], target)
    if _TLS.search(text):
        return Unreachable("no trusted TLS connection could be made", target=target,
                           fix="check the certificate of the server, or add verify=no to the URL for a self-signed one")
    return Unreachable("it could not be reached, or did not answer", target=target)


def _of_http(status: int, target: str) -> OutsideError:
    if status in (401, 403, 407):
        return Refused(f"answered {status}: it does not accept the credentials", target=target, status=status,
                       fix="set the secret of this notification target again")
    if status in (404, 410):
        return NotFound(f"answered {status}: there is nothing at this address", target=target, status=status,
                        fix="check the URL of this notification target")
    if status in (408, 425, 429) or status >= 500:
        return Unreachable(f"answered {status}", target=target, status=status)
    return Rejected(f"answered {status} and did not take the message", target=target, status=status)


def _of_smtp(codes: Sequence[int], target: str) -> OutsideError:
    """Several recipients may be refused for several reasons: worth another try if one of them may pass."""
    if any(400 <= code < 500 for code in codes):
        code = next(code for code in codes if 400 <= code < 500)
        return Unreachable(f"the mail server answered {code}", target=target, status=code)
    code = codes[0]
    if code in (530, 534, 535, 538):
        return Refused(f"the mail server answered {code}: it does not accept the login", target=target, status=code,
                       fix="set the secret of this notification target again")
    return Rejected(f"the mail server answered {code} and did not take the message", target=target, status=code)
