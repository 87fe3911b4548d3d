"""Secrets at rest: encryption under a rotatable key (§2.5), keys derived from it, and references to secrets (§2.6).

A :class:`SecretBox` holds one or several Fernet keys, given as ``WFOPS_SECRET_KEY="newest,…,oldest"``: the first
encrypts, each decrypts. A stored secret is ``<key id>.<Fernet token>``; the key id is a fingerprint of the key, so
that ``doctor`` can say which key is missing, and ``secrets rotate`` finds what is left to do without decrypting
anything.

Rotation: put the new key first, run ``wfops secrets rotate``, and drop the old keys when every process has the new one
(what that changes: :meth:`SecretBox.derive`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from wfops_pipelines.domain.errors import InvalidSetting, SecretUnreadable, UsageError

SETTING = "WFOPS_SECRET_KEY"
KEY_BYTES = 32
LARGEST_SECRET_FILE = 64 * 1024
_NEW_KEY = "python -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())' makes a key"


def generate_key() -> str:
    """A new random key, in the form :func:`parse_keys` reads."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_keys(text: str, *, source: str = SETTING) -> list[str]:
    """The keys of ``"newest,…,oldest"``, in that order, without repetitions.

    ``source`` names where the text came from in messages. Raises :class:`InvalidSetting` saying which of them is no key
    (never the value) or that there is none.
    """
    keys: list[str] = []
    parts = [part.strip() for part in text.split(",")]
    for position, part in enumerate(parts, start=1):
        if not part:
            continue
        if not re.fullmatch(r"[A-Za-z0-9_-]{43}=", part):
            raise InvalidSetting(
                f"{source}: key {position} of {len(parts)} is not {KEY_BYTES} bytes in URL-safe base64", fix=_NEW_KEY)
        if part not in keys:
            keys.append(part)
    if not keys:
        raise InvalidSetting(f"{source} holds no key", fix=_NEW_KEY)
    return keys


def key_id(key: str) -> str:
    """Ten hexadecimal digits that name a key without giving it away (it is 32 random bytes)."""
    return hashlib.sha256(b"wfops key id\0" + base64.urlsafe_b64decode(key)).hexdigest()[:10]


class SecretBox:
    """Encrypts and decrypts secrets, and derives the keys of other purposes.

    ``keys`` as :func:`parse_keys` returns them: newest first. Neither ``repr`` nor any message shows a key or a secret.
    """

    __slots__ = ("_fernets", "_keys")

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = parse_keys(",".join(keys))
        self._fernets = {key_id(key): Fernet(key) for key in self._keys}

    @classmethod
    def from_text(cls, text: str, *, source: str = SETTING) -> SecretBox:
        """The box of a setting or key file; :class:`InvalidSetting` names ``source``."""
        return cls(parse_keys(text, source=source))

    def __repr__(self) -> str:
        return f"SecretBox(key ids: {', '.join(self.key_ids)})"

    def __reduce__(self) -> str:
        raise TypeError("a SecretBox is not pickled: its keys would travel with it")

    @property
    def key_id(self) -> str:
        """The id of the key that encrypts."""
        return next(iter(self._fernets))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, newest first."""
        return tuple(self._fernets)

    def encrypt(self, secret: str) -> str:
        """``<key id>.<token>`` under the newest key; each call gives another token."""
        return f"{self.key_id}.{self._fernets[self.key_id].encrypt(secret.encode('utf-8', 'surrogatepass')).decode()}"

    def decrypt(self, stored: str) -> str:
        """The secret. :class:`SecretUnreadable` names the key that is missing, or says that the value is damaged."""
        identity, dot, token = stored.partition(".")
        if not dot or not _is_key_id(identity):
            raise SecretUnreadable("a stored secret is damaged: it does not begin with the id of a key",
                                   fix="set the secret again")
        fernet = self._fernets.get(identity)
        if fernet is None:
            raise SecretUnreadable(
                f"a stored secret is encrypted with the key {identity}, which is not among those that are set "
                f"({', '.join(self.key_ids)})",
                fix=f"add that key to {SETTING}, after the others, or set the secret again")
        try:
            return fernet.decrypt(token.encode()).decode("utf-8", "surrogatepass")
        except (InvalidToken, UnicodeDecodeError):
            raise SecretUnreadable(f"a stored secret is damaged: the key {identity} does not open it",
                                   fix="set the secret again") from None

    def needs_rotation(self, stored: str) -> bool:
        """Whether :meth:`rotate` would encrypt it under another key than it is now."""
        return stored.partition(".")[0] != self.key_id

    def rotate(self, stored: str) -> str:
        """The same secret under the newest key: ``stored`` itself when it is already. :class:`SecretUnreadable`."""
        return self.encrypt(self.decrypt(stored)) if self.needs_rotation(stored) else stored

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose (``"role:wfops_app"``), from the *oldest* key.

        Putting a new key in front must change nothing that was computed before: running processes would lose their role
        passwords half-way through a rolling restart. The oldest key, last in the list, is the one thing that stays when
        a key is added. When it is dropped in the end, derived values change once: role passwords follow by themselves
        (the bootstrap sets them anew). The audit chain's key is not derived but stored (``store.installation``).
        """
        return _derive(self._keys[-1], purpose)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Make the :class:`SecretUnreadable` of the block say which secret it is about."""
    try:
        yield
    except SecretUnreadable as error:
        raise SecretUnreadable(f"{what}: {error.message}", fix=error.fix) from None


def _derive(key: str, purpose: str) -> bytes:
    """HKDF (RFC 5869) with SHA-256 and one block of output: extract with a fixed salt, expand with the purpose."""
    extracted = hmac.digest(b"wfops derive v1", base64.urlsafe_b64decode(key), hashlib.sha256)
    return hmac.digest(extracted, purpose.encode() + b"\x01", hashlib.sha256)


def _is_key_id(text: str) -> bool:
    return len(text) == 10 and all(c in "0123456789abcdef" for c in text)


def load_or_create_key_file(path: Path) -> str:
    """The contents of a key file, which is made with a new key when it is not there yet.

    The file has mode 0600; several processes that start at once agree on one key, and a process that is killed leaves
    no half-written file. Raises :class:`InvalidSetting` for one that others can read, that is no plain file, or that
    holds no key.
    """
    try:
        return _read_key_file(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InvalidSetting(f"key file {path}: {error.strerror}", fix="make it readable for this user") from None
    try:
        _create_key_file(path)
        return _read_key_file(path)
    except OSError as error:
        raise InvalidSetting(f"key file {path} cannot be made: {error.strerror}",
                             fix=f"make the directory writable, or set {SETTING}") from None


def _read_key_file(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidSetting(f"key file {path} is not a plain file")
        if status.st_mode & 0o077:
            raise InvalidSetting(f"key file {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o})",
                                 fix=f"chmod 600 {path}, and rotate the key if somebody may have read it")
        if status.st_uid not in {os.geteuid(), 0}:
            raise InvalidSetting(f"key file {path} belongs to another user (uid {status.st_uid})",
                                 fix=f"run wfops as that user, or chown {os.geteuid()} {path}")
        text = file.read(LARGEST_SECRET_FILE).decode("ascii", "replace").strip()
    parse_keys(text, source=f"key file {path}")
    return text


def _create_key_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(generate_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)  # fails where somebody was faster: theirs is the key then
        except FileExistsError:
            return
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def resolve_reference(reference: str, environ: Mapping[str, str], base: Path) -> str:
    """The secret behind ``env:NAME`` or ``file:PATH`` (relative to ``base``, the directory of the document).

    One trailing line break of a file is not part of the secret. Raises :class:`InvalidSetting` naming NAME or PATH
    when there is nothing behind it, :class:`UsageError` when it is no reference; the text is not repeated then, for
    it may be the secret itself.
    """
    scheme, colon, rest = reference.partition(":")
    if colon and scheme == "env" and rest:
        value = environ.get(rest, "")
        if not value:
            raise InvalidSetting(f"env:{rest}: the environment variable {rest} is not set", fix=f"export {rest}=…")
        return value
    if colon and scheme == "file" and rest:
        return _read_secret_file(rest, base)
    raise UsageError("a secret is given as a reference: env:NAME or file:PATH",
                     fix="put the value into an environment variable or a file, and refer to it")


def _read_secret_file(name: str, base: Path) -> str:
    try:
        path = base / Path(name).expanduser()
        if not path.is_file():
            raise InvalidSetting(f"file:{name}: there is no file {path}",
                                 fix="correct the path, or write the secret there")
        with path.open("rb") as file:
            raw = file.read(LARGEST_SECRET_FILE + 1)
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no home for `~`; ValueError: NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise InvalidSetting(f"file:{name}: {reason}", fix="make the file readable for this user") from None
    if len(raw) > LARGEST_SECRET_FILE:
        raise InvalidSetting(f"file:{name}: {path} is larger than {LARGEST_SECRET_FILE} bytes: this is no secret")
    try:
        value = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise InvalidSetting(f"file:{name}: {path} is not UTF-8 text") from None
    if not value:
        raise InvalidSetting(f"file:{name}: {path} is empty", fix="write the secret there")
    return value
