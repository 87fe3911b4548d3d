"""Running the git command, sealed off from the machine it runs on.

No user or system configuration, no hooks, no prompts, no credential helpers, no other protocol than the one in use,
plain English messages. A token travels as an HTTP header in the environment of the git process, scoped to the remote's
host: never in an argument, a URL or a file (§2.5).
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from wfops_pipelines import calls
from wfops_pipelines.domain.errors import OutsideError, Rejected, Unreachable, UsageError
from wfops_pipelines.git import processes
from wfops_pipelines.git.address import Address, Transport
from wfops_pipelines.git.output import MOST_SAID_BYTES, Messages, Take, TooMuch, bounded, exchange

Secret = Callable[[], str | None]

NETWORK_SECONDS = 900.0
LOCAL_SECONDS = 300.0
CONNECT_SECONDS = 20
MOST_WRITTEN_BYTES = 2 * 1024 ** 3
"""What one fetch may write: it is one pack, also where it is small, and so one file."""

# A child process needs a PATH, and the machine's way out to the network; nothing else of our environment.
_INHERITED = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "GIT_EXEC_PATH", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "http_proxy",
              "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")

_STATIC_CONFIG: Mapping[str, str] = {
    "core.hooksPath": "/dev/null", "core.quotePath": "true", "core.fsync": "none", "core.bigFileThreshold": "16m",
    "credential.helper": "", "core.askPass": "", "protocol.version": "2", "gc.auto": "0", "maintenance.auto": "false",
    "http.followRedirects": "false",  # a redirect would take the token to a host nobody named
    "http.lowSpeedLimit": "100", "http.lowSpeedTime": "60", "http.userAgent": "git/wfops",
    "fetch.unpackLimit": "1",  # no files of single objects, which nothing would bound together
    "advice.fetchShowForcedUpdates": "false", "fetch.showForcedUpdates": "false", "log.showSignature": "false",
    "remote.origin.tagOpt": "--no-tags", "submodule.recurse": "false",
}


class GitFailed(Exception):
    """git ended with an error; ``text`` is what it said, without secrets."""

    def __init__(self, command: str, code: int, text: str) -> None:
        super().__init__(f"git {command} ended with {code}: {text.strip()[-2000:]}")
        self.command, self.code, self.text = command, code, text


@dataclass(frozen=True, slots=True)
class Finished:
    """What a git command printed."""

    stdout: bytes
    stderr: str


class Git:
    """The git command for one remote, working on one local directory.

    ``home`` is a directory of ours: git's HOME, its global configuration and the known SSH hosts are in it.
    """

    def __init__(self, address: Address, *, secret: Secret, home: Path, directory: Path) -> None:
        self.address = address
        self.directory = directory
        self._secret = secret
        self._home = home

    def run(self, *arguments: str, network: bool = False, data: bytes | None = None,
            config: Mapping[str, str] | None = None, most: int = MOST_SAID_BYTES, take: Take | None = None) -> Finished:
        """Run to the end; :class:`GitFailed` when git says no, :class:`Unreachable` when it takes too long,
        :class:`Rejected` when it prints more than ``most`` bytes or says no end of messages. Where ``take`` is given, what
        it prints goes there as it comes, in place of the result, and what ``take`` raises ends it."""
        secret = self._secret() if network else None
        limit = calls.seconds_left(NETWORK_SECONDS if network else LOCAL_SECONDS)
        process = self._start(arguments, self._environment(secret, network, config or {}), stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
                              seconds=limit if network else None, largest_file=MOST_WRITTEN_BYTES if network else None)
        printed, said = bytearray(), Messages()
        try:
            exchange(process, data, seconds=limit, printed=take or bounded(printed.extend, most), said=said.add)
        except TimeoutError:
            raise self._given_up(network, Unreachable(
                f"git {arguments[0]} did not finish: {calls.unanswered(limit)}", target=self.address.url,
                fix="check the connection, or try again later")) from None
        except TooMuch as much:
            raise self._given_up(network, Rejected(
                f"git {arguments[0]} was ended: it had {much} to say", target=self.address.url,
                fix="check the repository, and that the URL is that of a Git server")) from None
        finally:
            processes.end(process)
        text = scrub(said.text(), secret)
        if network:
            calls.count("git", "failed" if process.returncode else calls.OK)
        if process.returncode:
            output = scrub(printed.decode(errors="replace"), secret) if network else ""
            raise GitFailed(arguments[0], process.returncode, f"{output}\n{text}" if output else text)
        return Finished(bytes(printed), text)

    def _given_up(self, network: bool, error: OutsideError) -> OutsideError:
        if network:
            calls.count("git", error.kind)
        return error

    @contextlib.contextmanager
    def stream(self, *arguments: str, data: bytes) -> Iterator[IO[bytes]]:
        """The standard output of a local command while it runs; its input comes from a file, so nothing can block."""
        with tempfile.TemporaryFile(dir=self._home) as stdin:
            stdin.write(data)
            stdin.seek(0)
            process = self._start(arguments, self._environment(None, False, {}), stdin=stdin,
                                  stderr=subprocess.DEVNULL)
        try:
            assert process.stdout is not None  # noqa: S101 - started with a pipe
            yield process.stdout
        finally:
            processes.end(process)

    def _start(self, arguments: Sequence[str], environment: Mapping[str, str], *, stdin: IO[bytes] | int,
               stderr: int, seconds: float | None = None, largest_file: int | None = None) -> subprocess.Popen[bytes]:
        if shutil.which("git") is None:
            raise UsageError("the git command is not installed", fix="install git 2.34 or newer")
        try:
            return processes.start(["git", *arguments], cwd=self._home, stdin=stdin, stderr=stderr,
                                   environment=environment, seconds=seconds, largest_file=largest_file)
        except FileNotFoundError:
            raise GitFailed(arguments[0], 128, f"the cache directory {self._home} is gone") from None

    def _environment(self, secret: str | None, network: bool, config: Mapping[str, str]) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment = inherited | {
            "HOME": str(self._home), "GIT_DIR": str(self.directory), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self._home / "global.gitconfig"), "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C",
            "GIT_ATTR_NOSYSTEM": "1", "GIT_LITERAL_PATHSPECS": "1", "GIT_OPTIONAL_LOCKS": "0",
            "GIT_ALLOW_PROTOCOL": self._protocols() if network else "none",
        }
        if "SSL_CERT_FILE" in os.environ:  # the same trust for git as for our own HTTP requests
            environment.setdefault("GIT_SSL_CAINFO", os.environ["SSL_CERT_FILE"])
        settings = {**_STATIC_CONFIG, **config}
        if network:
            settings |= {"remote.origin.url": self.address.url} | self._credentials(secret)
            environment |= self._ssh(secret)
        environment["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (key, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{number}"] = key
            environment[f"GIT_CONFIG_VALUE_{number}"] = value
        return environment

    def _protocols(self) -> str:
        return self.address.url.partition("://")[0] if "://" in self.address.url else "ssh"

    def _credentials(self, secret: str | None) -> dict[str, str]:
        if self.address.transport is not Transport.HTTP or not secret:
            return {}
        return {f"http.{self.address.origin}.extraHeader": f"Authorization: {authorization(self.address, secret)}"}

    def _ssh(self, secret: str | None) -> dict[str, str]:
        if self.address.transport is not Transport.SSH:
            return {}
        known_hosts = self._home.parent / "known_hosts"
        options = ["BatchMode=yes", "StrictHostKeyChecking=accept-new", f'UserKnownHostsFile="{known_hosts}"',
                   f"ConnectTimeout={CONNECT_SECONDS}", "ServerAliveInterval=15", "ServerAliveCountMax=4"]
        if secret:
            options += ["IdentitiesOnly=yes", "IdentityAgent=none"]
        command = ["ssh", "-F", "/dev/null", *(part for option in options for part in ("-o", option))]
        command += ["-i", secret] if secret else []
        ssh = {"GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}
        agent = os.environ.get("SSH_AUTH_SOCK")
        return ssh | ({"SSH_AUTH_SOCK": agent} if agent and not secret else {})


def authorization(address: Address, secret: str) -> str:
    """The value of the Authorization header: ``user:password`` as it is, else the token as the password of the user in
    the URL or of ``x-access-token`` (what GitHub asks for; GitLab, Gitea and others take any name)."""
    pair = secret if ":" in secret else f"{address.user or 'x-access-token'}:{secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def scrub(text: str, secret: str | None) -> str:
    """A text from outside without the secret, should a server have sent it back."""
    if not secret:
        return text
    for part in (secret, secret.partition(":")[2]):
        if part:
            for login in (part, f"x-access-token:{part}"):
                text = text.replace(base64.b64encode(login.encode()).decode(), "***")
            text = text.replace(part, "***")
    return text


def write_global_config(home: Path, address: Address) -> None:
    """Git's global configuration: nothing, except that a ``file://`` remote may belong to another user of this machine.

    It is a file because git clears the environment's configuration for the other side of a local transport."""
    lines = []
    if address.transport is Transport.FILE:
        path = address.local_path
        for trusted in dict.fromkeys((path, path / ".git", path.resolve(), path.resolve() / ".git")):
            quoted = str(trusted).replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'\tdirectory = "{quoted}"\n')
    target = home / "global.gitconfig"
    text = "[safe]\n" + "".join(lines) if lines else ""
    if not target.exists() or target.read_text() != text:
        with tempfile.NamedTemporaryFile("w", dir=home, delete=False) as file:
            file.write(text)
        Path(file.name).replace(target)
