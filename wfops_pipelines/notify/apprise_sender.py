"""Sending with apprise: mail, Slack, webhooks and whatever else its URLs name.

Each message is sent in a thread of its own with an end to the waiting, since some of apprise's services know no time
out. Which service gets what: chats and SMS the short line, everybody else title and text. The key goes along as

* ``Message-ID`` of a mail,
* header ``Idempotency-Key`` and field ``id`` of a JSON webhook (the header alone for XML and forms).
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from email.utils import make_msgid
from typing import Any, Final

from wfops_pipelines.domain.errors import OutsideError, Rejected, Unreachable
from wfops_pipelines.failpoints import reach
from wfops_pipelines.notify.outcome import failure
from wfops_pipelines.notify.quiet_logs import listening
from wfops_pipelines.notify.sender import shown_target

_SHORT_SERVICES: Final = frozenset({"slack"})
_ROOM_FOR_TEXT: Final = 1000  # characters; a service that takes fewer (SMS, pagers) gets the short line
_WEBHOOKS: Final = frozenset({"json", "jsons", "xml", "xmls", "form", "forms"})
_MAIL: Final = frozenset({"mailto", "mailtos"})
_MAX_HANGING: Final = 16

_message_id: ContextVar[str | None] = ContextVar("wfops_message_id", default=None)


class AppriseSender:
    """The :class:`~wfops_pipelines.notify.sender.Sender` that apprise implements. Times are in seconds; ``timeout`` is the
    whole attempt's, after which it counts as failed (and may have arrived all the same)."""

    def __init__(self, *, timeout: float = 30.0, connect_timeout: float = 5.0, read_timeout: float = 15.0) -> None:
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._slots = threading.BoundedSemaphore(_MAX_HANGING)

    def send(self, url: str, *, title: str, body: str, short: str, key: str, picture: str | None = None) -> None:
        """As :class:`~wfops_pipelines.notify.sender.Sender` says."""
        target = shown_target(url)
        if not self._slots.acquire(timeout=self._timeout):
            raise Unreachable(f"{_MAX_HANGING} earlier messages still wait for their receivers", target=target)
        attempt = _Attempt(url, title=title, body=body, short=short, key=key, picture=picture)
        reach("notify.before_send")
        thread = threading.Thread(target=self._run, args=(attempt,), name="wfops-notify", daemon=True)
        thread.start()
        thread.join(self._timeout)
        reach("notify.after_send")
        if thread.is_alive():
            raise Unreachable(f"did not take the message within {self._timeout:g} s; it may have arrived all the same",
                              target=target)
        if attempt.error is not None:
            raise attempt.error from None

    def _run(self, attempt: _Attempt) -> None:
        try:
            attempt.run(self._connect_timeout, self._read_timeout)
        finally:
            self._slots.release()


class _Attempt:
    """One message on its way; ``error`` is set when it did not arrive."""

    def __init__(self, url: str, *, title: str, body: str, short: str, key: str, picture: str | None) -> None:
        self._picture = picture
        self._url, self._title, self._body, self._short, self._key = url, title, body, short, key
        self.error: OutsideError | None = None

    def run(self, connect_timeout: float, read_timeout: float) -> None:
        target = shown_target(self._url)
        with listening() as lines:
            try:
                service = _service(self._url)
                if service is None:
                    self.error = Rejected("no service is known by this notification URL", target=target,
                                          fix="see the list of services at https://github.com/caronc/apprise")
                    return
                service.socket_connect_timeout, service.socket_read_timeout = connect_timeout, read_timeout
                if not self._notify(service):
                    self.error = failure(lines, target)
            except Exception as error:  # a service's own bug; its text may hold the URL
                self.error = Unreachable(f"sending failed with {type(error).__name__}", target=target)

    def _notify(self, service: Any) -> bool:
        from apprise import NotifyFormat, NotifyType  # noqa: PLC0415 - slow to import, and needed by few commands

        schemes = _schemes(service)
        brief = bool(schemes & _SHORT_SERVICES) or service.body_maxlen < _ROOM_FOR_TEXT
        if schemes & _MAIL:
            _message_id.set(f"<{self._key}@wfops>")
            if service.notify_format is type(service).notify_format:
                service.notify_format = NotifyFormat.TEXT
        if schemes & _WEBHOOKS:
            service.headers["Idempotency-Key"] = self._key
            if schemes & {"json", "jsons"}:
                service.payload_extras.setdefault("id", self._key)
                service.payload_extras.setdefault("short", self._short)
        return bool(service.notify(title="" if brief else self._title, body=self._short if brief else self._body,
                                   notify_type=NotifyType.INFO, body_format=NotifyFormat.TEXT,
                                   attach=self._attachment(service)))

    def _attachment(self, service: Any) -> Any:
        """The picture as a file, for services that take files; for others the text has to do."""
        if self._picture is None or not service.attachment_support:
            return None
        from apprise import AppriseAttachment  # noqa: PLC0415
        from apprise.attachment import memory  # noqa: PLC0415

        attach: Any = memory.AttachMemory  # apprise has no types here
        files = AppriseAttachment()
        files.add(attach(self._picture.encode(), name="change.svg", mimetype="image/svg+xml"))
        return files


def _service(url: str) -> Any:
    import apprise  # noqa: PLC0415
    from apprise.plugins.email import base  # noqa: PLC0415

    mail: Any = base
    if mail.make_msgid is make_msgid:
        mail.make_msgid = _stable_message_id  # apprise offers no other way to choose it
    asset = apprise.AppriseAsset(app_id="WorkflowOps", app_desc="WorkflowOps", app_url="", secure_logging=True,
                                 async_mode=False, http_redirects=False)  # a POST would go on as a GET, without the message
    return apprise.Apprise.instantiate(url, asset=asset)


def _stable_message_id(*args: Any, **more: Any) -> str:
    """The id of the message that this thread sends, the same at each attempt; a new one for anybody else."""
    return _message_id.get() or make_msgid(*args, **more)


def _schemes(service: Any) -> set[str]:
    """Every scheme that the service answers to."""
    found: set[str] = set()
    for names in (service.protocol, service.secure_protocol):
        found |= {names} if isinstance(names, str) else set(names or ())
    return found
