"""A loopback server that answers byte for byte what a test tells it to: cut-off, slow, reset, no HTTP at all."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import itertools
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[0] for key, values in parse_qs(urlsplit(self.target).query).items()}


class Reset(Exception):
    """Raised by a script: reset the connection instead of answering."""


#: What is sent: bytes, or pieces one after the other. A short body is cut off by closing the connection.
Script = Callable[[Request], bytes | Iterator[bytes]]


def http(status: int, body: bytes | str | Any = b"", *, close: bool = False, **headers: Any) -> bytes:
    """A whole HTTP answer. What is neither bytes nor text becomes JSON; header names are given with underscores."""
    kind = "application/json"
    if isinstance(body, str):
        body, kind = body.encode(), "text/html; charset=utf-8"
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    fields = {"content_type": kind, "content_length": str(len(body)), "connection": "close" if close else "keep-alive", **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


@dataclass
class HostileServer:
    """Runs a script for each request. ``requests`` are those that came, ``most_at_once`` how many at one time."""

    script: Script
    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    most_at_once: int = 0
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                number = self.connections
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        try:
            if self.tls:
                connection = self.tls.wrap_socket(raw, server_side=True)
            with connection, connection.makefile("rb") as stream:
                if not stream.peek(1)[:1].isalpha():
                    connection.sendall(http(400, close=True))  # no HTTP, a client's TLS perhaps: as Node's servers answer it
                    return
                while (request := _read(stream, number)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        self._at_once += 1
                        self.most_at_once = max(self.most_at_once, self._at_once)
                    try:
                        answer = self.script(request)
                    except Reset:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        return
                    finally:
                        with self._lock:
                            self._at_once -= 1
                    if not isinstance(answer, bytes):
                        for piece in answer:
                            connection.sendall(piece)
                        return
                    connection.sendall(answer)
                    if not _is_whole(answer):
                        return
        except OSError:
            pass  # the client went away, or the server is being stopped
        finally:
            with self._lock:
                self._open.discard(raw)
            raw.close()


def _read(stream: Any, connection: int) -> Request | None:
    line = stream.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (field_line := stream.readline().decode("latin-1").rstrip("\r\n")):
        name, _, value = field_line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Request(line[0], line[1], headers, body, connection)


def _is_whole(answer: bytes) -> bool:
    """Whether the connection can go on after this answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"connection" and value.strip() == b"close":
            return False
        if name == b"content-length" and int(value) != len(body):
            return False
    return head.startswith(b"HTTP/1.1 ") and b"content-length" in head.lower()


def drop_by_drop(answer: bytes, *, every: float = 0.02) -> Iterator[bytes]:
    """A byte now and then, as long as the other side listens: no single read ever waits for long."""
    never = threading.Event()
    for position in range(len(answer)):
        yield answer[position:position + 1]
        never.wait(every)


def refs_without_end(request: Request) -> bytes | Iterator[bytes]:
    """A Git server that knows no protocol 2 and goes on naming branches: for git that is never too slow, and never whole."""
    if request.method == "POST":
        return http(200, b"no", content_type="text/plain")

    def lines() -> Iterator[bytes]:
        yield (b"HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\nconnection: close\r\n\r\n"
               b"001e# service=git-upload-pack\n0000")
        never = threading.Event()
        for number in itertools.count():
            line = b"%040x refs/heads/b%d" % (1, number) + (b"" if number else b"\0side-band-64k") + b"\n"
            yield b"%04x" % (len(line) + 4) + line
            never.wait(0.1)
    return lines()


def self_signed(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server context with a fresh certificate for 127.0.0.1 that only itself vouches for, and its PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                   .serial_number(x509.random_serial_number())
                   .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
                   .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
                   .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
                   .sign(key, hashes.SHA256()))
    pem, key_file = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                           serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key_file)
    return context, pem


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port of loopback on which nobody listens, kept from everybody else."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
