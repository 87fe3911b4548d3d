"""Sending to real receivers on loopback (§16): what arrives, which errors are worth another try, and what no log shows."""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from apprise.plugins.slack import NotifySlack

from wfops_pipelines.domain.errors import NotFound, OutsideError, Refused, Rejected, Unreachable
from wfops_pipelines.notify.apprise_sender import AppriseSender
from wfops_pipelines.notify.outcome import failure
from wfops_pipelines.notify.sender import Sender, shown_target
from wfops_pipelines_tests.servers.hostile import HostileServer, Request, Reset, closed_port, http, self_signed
from wfops_pipelines_tests.servers.mail import MailServer

KEY = "0123456789abcdef0123456789abcdef"
TITLE = "[high] Drift incident in acme / prod: Größe geändert"
BODY = "🟠 Drift incident\n\nSeverity: high\nüber: <b>not HTML</b> & so\n\nhttps://dagster.example.com/assets/x?a=b&c=d\n"
SHORT = "🟠 Drift incident https://dagster.example.com/assets/x"
SECRET = "s3cr3t-in-the-url"


def send(url: str, sender: Sender | None = None) -> None:
    (sender or AppriseSender()).send(url, title=TITLE, body=BODY, short=SHORT, key=KEY)


def refused_by(url: str, sender: Sender | None = None) -> OutsideError:
    with pytest.raises(OutsideError) as refused:
        send(url, sender)
    assert SECRET not in str(refused.value) and SECRET not in repr(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__
    return refused.value


def answering(status: int) -> Callable[[Request], bytes]:
    return lambda request: http(status, {"told": SECRET})


# -- webhooks ------------------------------------------------------------------------------------------------------------

def test_a_webhook_gets_the_message_as_json_with_its_key() -> None:
    with HostileServer(answering(200)) as server:
        send(f"json://127.0.0.1:{server.port}/hook/{SECRET}")
        (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/hook/{SECRET}")
    assert request.headers["idempotency-key"] == KEY
    told = json.loads(request.body)
    assert (told["title"], told["message"].strip(), told["short"], told["id"]) == (TITLE, BODY.strip(), SHORT, KEY)


PICTURE = '<svg xmlns="http://www.w3.org/2000/svg"><title>Größe</title></svg>'


def test_a_picture_goes_along_as_a_file_with_a_webhook() -> None:
    with HostileServer(answering(200)) as server:
        AppriseSender().send(f"json://127.0.0.1:{server.port}/", title=TITLE, body=BODY, short=SHORT, key=KEY,
                             picture=PICTURE)
        (request,) = server.requests
    (attached,) = json.loads(request.body)["attachments"]
    assert (attached["filename"], attached["mimetype"]) == ("change.svg", "image/svg+xml")
    assert base64.b64decode(attached["base64"]).decode() == PICTURE


def test_a_picture_goes_along_as_a_file_with_a_mail() -> None:
    with MailServer() as server:
        AppriseSender().send(mail_url(server), title=TITLE, body=BODY, short=SHORT, key=KEY, picture=PICTURE)
    (mail,) = server.messages
    (attached,) = mail.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("change.svg", "image/svg+xml")
    assert attached.get_content().decode() == PICTURE


def test_a_webhook_keeps_fields_and_headers_of_its_url() -> None:
    with HostileServer(answering(200)) as server:
        send(f"json://127.0.0.1:{server.port}/?+X-Token={SECRET}&:id=mine")
        (request,) = server.requests
    assert request.headers["x-token"] == SECRET and request.headers["idempotency-key"] == KEY
    assert json.loads(request.body)["id"] == "mine"


@pytest.mark.parametrize(("status", "kind"), [
    (400, Rejected), (401, Refused), (403, Refused), (404, NotFound), (410, NotFound), (413, Rejected), (422, Rejected),
    (408, Unreachable), (429, Unreachable), (500, Unreachable), (502, Unreachable), (503, Unreachable),
])
def test_the_status_of_a_webhook_tells_whether_to_try_again(status: int, kind: type[OutsideError]) -> None:
    with HostileServer(answering(status)) as server:
        error = refused_by(f"json://me:{SECRET}@127.0.0.1:{server.port}/{SECRET}")
        assert len(server.requests) == 1
        assert error.target == f"json://127.0.0.1:{server.port}"
    assert type(error) is kind and error.status == status


@pytest.mark.parametrize("scheme", ["json", "xml", "form"])
def test_a_redirect_is_no_delivery_and_takes_no_secret_elsewhere(scheme: str) -> None:
    with HostileServer(answering(200)) as other:
        there = f"http://127.0.0.1:{other.port}/"
        with HostileServer(lambda request: http(302, location=there)) as server:
            error = refused_by(f"{scheme}://127.0.0.1:{server.port}/?+X-Token={SECRET}")
    assert (type(error), error.status, other.requests) == (Rejected, 302, [])


def test_a_closed_port_is_unreachable() -> None:
    with closed_port() as port:
        assert isinstance(refused_by(f"json://127.0.0.1:{port}/{SECRET}"), Unreachable)
        mail = f"mailto://me:{SECRET}@127.0.0.1:{port}?from=b@example.com&to=a@example.com&mode=insecure"
        assert isinstance(refused_by(mail), Unreachable)


def test_a_connection_that_is_reset_is_unreachable() -> None:
    def reset(request: Request) -> bytes:
        raise Reset

    with HostileServer(reset) as server:
        assert isinstance(refused_by(f"json://127.0.0.1:{server.port}/{SECRET}"), Unreachable)


def test_a_receiver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(request: Request) -> bytes:
        release.wait(30)
        return http(200, {})

    with HostileServer(slow) as server:
        by_socket = refused_by(f"json://127.0.0.1:{server.port}/{SECRET}", AppriseSender(read_timeout=0.2))
        by_thread = refused_by(f"json://127.0.0.1:{server.port}/{SECRET}", AppriseSender(timeout=0.2))
        release.set()
    assert isinstance(by_socket, Unreachable) and isinstance(by_thread, Unreachable)
    assert "may have arrived" in str(by_thread)


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_url_says_so(tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    with HostileServer(answering(200), tls=context) as server:
        error = refused_by(f"jsons://127.0.0.1:{server.port}/{SECRET}")
        assert isinstance(error, Unreachable) and "certificate" in str(error)
        send(f"jsons://127.0.0.1:{server.port}/?verify=no")
        assert len(server.requests) == 1


@pytest.mark.parametrize("scheme", ["xml", "form"])
def test_other_webhooks_carry_the_key_as_a_header(scheme: str) -> None:
    with HostileServer(answering(200)) as server:
        send(f"{scheme}://127.0.0.1:{server.port}/")
        assert server.requests[0].headers["idempotency-key"] == KEY


# -- mail ----------------------------------------------------------------------------------------------------------------

def mail_url(server: MailServer, more: str = "to=ada@example.com", user: str = "") -> str:
    return f"mailto://{user}127.0.0.1:{server.port}?from=wfops@example.com&mode=insecure&{more}"


def test_a_mail_is_plain_text_with_the_key_as_its_message_id() -> None:
    with MailServer() as server:
        send(mail_url(server))
        send(mail_url(server))
    first, again = server.messages
    assert first["Subject"] == TITLE and "ada@example.com" in first["To"]
    assert first.get_all("Message-ID") == again.get_all("Message-ID") == [f"<{KEY}@wfops>"]
    body = first.get_body(("plain",))
    assert body is not None and body.get_content().strip().splitlines() == BODY.strip().splitlines()
    assert first.get_body(("html",)) is None


def test_messages_sent_at_once_keep_their_own_ids() -> None:
    sender, keys = AppriseSender(), [f"{number:032}" for number in range(6)]
    with MailServer() as server, ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(sender.send, mail_url(server), title=f"title {key}", body=key, short=key, key=key)
                     for key in keys]:
            done.result()
    assert sorted((m["Message-ID"], m["Subject"]) for m in server.messages) == [(f"<{key}@wfops>", f"title {key}") for key in keys]


def test_a_mail_goes_to_every_recipient_of_its_url() -> None:
    with MailServer() as server:
        send(mail_url(server, "to=ada@example.com,bob@example.com"))
    assert sorted(server.recipients) == [["ada@example.com"], ["bob@example.com"]]


def test_a_login_that_is_not_accepted_is_refused_and_never_shown() -> None:
    with MailServer(login=("me", "right")) as server:
        error = refused_by(mail_url(server, user=f"me:{SECRET}@"))
        assert isinstance(error, Refused) and error.status == 535
        send(mail_url(server, user="me:right@"))
    assert len(server.messages) == 1


@pytest.mark.parametrize(("server", "kind", "status"), [
    (MailServer(sender_reply="550 5.7.1 you may not"), Rejected, 550),
    (MailServer(sender_reply="451 later"), Unreachable, 451),
    (MailServer(recipient_reply="550 no such user"), Rejected, 550),
    (MailServer(recipient_reply="450 greylisted"), Unreachable, 450),
    (MailServer(data_reply="554 spam"), Rejected, 554),
    (MailServer(data_reply="452 full"), Unreachable, 452),
], ids=lambda value: str(value)[:20])
def test_the_answer_of_a_mail_server_tells_whether_to_try_again(
        server: MailServer, kind: type[OutsideError], status: int) -> None:
    with server:
        error = refused_by(mail_url(server))
    assert type(error) is kind and error.status == status


def test_a_mail_server_without_starttls_is_rejected() -> None:
    with MailServer() as server:
        assert isinstance(refused_by(mail_url(server).replace("mode=insecure", "mode=starttls")), Rejected)


def test_a_mail_server_whose_certificate_nobody_vouches_for_gets_no_mail(tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    with MailServer(tls=context) as server:
        url = mail_url(server).replace("mode=insecure", "mode=starttls")
        assert isinstance(refused_by(url), Unreachable)
        send(f"{url}&verify=no")
    assert len(server.messages) == 1


# -- Slack ---------------------------------------------------------------------------------------------------------------

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops"


def test_slack_gets_the_short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer(lambda request: http(200, b"ok")) as server:
        monkeypatch.setattr(NotifySlack, "webhook_url", server.url)
        send(SLACK)
        (request,) = server.requests
    text = json.dumps(json.loads(request.body), ensure_ascii=False)
    assert "Drift incident" in text and "Severity" not in text


def test_an_error_of_slack_shows_none_of_its_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer(lambda request: http(403, b"invalid_token")) as server:
        monkeypatch.setattr(NotifySlack, "webhook_url", server.url)
        error = refused_by(SLACK)
    assert isinstance(error, Refused) and error.target == "slack://‹masked›"


# -- secrets and mistakes ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("url", ["", "nothing", "nosuchthing://host/x", "json://", "mailto://", "slack://x", "json://[::1/x"])
def test_a_url_that_names_no_service_is_rejected(url: str) -> None:
    assert isinstance(refused_by(url), Rejected)


@pytest.mark.parametrize(("url", "shown"), [
    ("json://me:pw@host.example.com:8080/x?y=z", "json://host.example.com:8080"),
    ("mailto://me:pw@gmail.com", "mailto://gmail.com"), ("slack://TokenA/TokenB/TokenC", "slack://‹masked›"),
    ("https://hooks.slack.com/services/T/B/X", "https://hooks.slack.com"), ("tgram://123:abc/chat", "tgram://‹masked›"),
    ("secret", "a notification URL without a scheme"), ("json://[::1]:80/x", "json://[::1]:80"),
])
def test_only_scheme_and_server_of_a_url_are_shown(url: str, shown: str) -> None:
    assert shown_target(url) == shown


def test_no_log_at_any_level_shows_the_url(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(1)
    for name in ("apprise", "urllib3", "urllib3.connectionpool", "requests"):
        caplog.set_level(1, logger=name)
    for status in (200, 500):
        with HostileServer(answering(status)) as server:
            url = f"json://me:{SECRET}@127.0.0.1:{server.port}/{SECRET}?-q={SECRET}"
            send(url) if status == 200 else refused_by(url)
    refused_by(f"nosuchthing://{SECRET}")
    shown = caplog.text + "".join(capfd.readouterr())
    assert SECRET not in shown and BODY[:20] not in shown


def test_what_others_log_meanwhile_is_still_logged(caplog: pytest.LogCaptureFixture) -> None:
    with HostileServer(answering(200)) as server:
        send(f"json://127.0.0.1:{server.port}/")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("urllib3.connectionpool").debug("of another client")
    assert "of another client" in caplog.text


def test_the_repr_of_a_sender_says_nothing_of_its_messages() -> None:
    assert SECRET not in repr(AppriseSender())


def test_a_failure_that_says_nothing_is_tried_again() -> None:
    assert isinstance(failure([], "json://host"), Unreachable)
    assert isinstance(failure(["There are no Email recipients to notify"], "mailto://host"), Rejected)
