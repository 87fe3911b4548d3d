"""TLS contexts, shared by all clients of a process: making one costs 77 ms of CPU (it parses the CA bundle)."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

import httpx

from wfops_pipelines.domain.errors import UsageError

_contexts: dict[bool | str, ssl.SSLContext] = {}
_plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_lock = threading.Lock()


def shared_context(verify: bool | str, *, tls: bool = True) -> ssl.SSLContext:
    """The one context for this way to verify.

    ``True`` trusts certifi's bundle and the operating system's store, a path a CA bundle (file or folder) of one's
    own, ``False`` everything. Without ``tls`` (an http:// server) the context trusts nothing and costs nothing.
    Raises :class:`UsageError` for a bundle that cannot be read.
    """
    if not tls:
        return _plain
    with _lock:
        context = _contexts.get(verify)
        if context is None:
            context = _contexts[verify] = _build(verify)
        return context


def _build(verify: bool | str) -> ssl.SSLContext:
    if verify is True:
        context = httpx.create_ssl_context(verify=True, trust_env=False)
        context.load_default_certs()
        return context
    if verify is False:
        return httpx.create_ssl_context(verify=False, trust_env=False)
    bundle = Path(verify)
    try:
        if bundle.is_dir():
            return ssl.create_default_context(capath=str(bundle))
        return ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the CA bundle {verify} cannot be read: {error.strerror or error}",
                         fix="ca_bundle of the environment takes a PEM file or a folder of hashed certificates") from error
