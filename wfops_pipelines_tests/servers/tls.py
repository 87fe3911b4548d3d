"""An ASGI app behind TLS, with a certificate that is right, expired, or for another host."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from wfops_pipelines_tests.servers.processes import eventually


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate that only itself vouches for."""

    pem: Path
    key: Path


def certificate(folder: Path, name: str, *, host: str | None = None, days: float = 1) -> Certificate:
    """For loopback, or for ``host``; it runs out in ``days``, which may be past."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    names = [x509.DNSName(host)] if host else [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(ends - datetime.timedelta(days=30)).not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256()))
    files = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    files.pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                            serialization.NoEncryption()))
    return files


@contextmanager
def serve_tls(app: Any, shown: Certificate) -> Iterator[str]:
    """The https URL under which the app answers until the block is left."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False,
                                               ssl_certfile=shown.pem, ssl_keyfile=shown.key))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            eventually(lambda: server.started)
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
