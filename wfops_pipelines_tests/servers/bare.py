"""Bare repositories for tests: made, filled and looked at by the git command."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_AUTHOR = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada",
           "GIT_COMMITTER_EMAIL": "ada@example.com", "GIT_AUTHOR_DATE": "1700000000 +0000",
           "GIT_COMMITTER_DATE": "1700000000 +0000"}


@dataclass(frozen=True, slots=True)
class BareRepository:
    """A bare repository that tests look into and change behind the back of the code under test."""

    path: Path

    @property
    def url(self) -> str:
        """Its ``file://`` URL."""
        return self.path.as_uri()

    def git(self, *arguments: str, data: bytes | None = None, environment: Mapping[str, str] | None = None) -> bytes:
        """Run git in it and return what it prints; an error fails the test with git's words."""
        sealed = {"PATH": os.environ["PATH"], "GIT_DIR": str(self.path), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
                  "GIT_CONFIG_GLOBAL": "/dev/null", **_AUTHOR, **(environment or {})}
        done = subprocess.run(["git", *arguments], input=data, env=sealed, capture_output=True, check=False)
        if done.returncode:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def text(self, *arguments: str, data: bytes | None = None) -> str:
        """The same, as text without the last line's end."""
        return self.git(*arguments, data=data).decode("utf-8", "surrogateescape").rstrip("\n")

    def commit(self, files: Mapping[str | bytes, bytes | tuple[str, bytes] | None], *, branch: str = "main",
               message: str = "change", orphan: bool = False) -> str:
        """One commit on a branch with files set or (``None``) deleted; ``(mode, content)`` sets any mode: ``120000`` a
        symlink, ``160000`` a submodule (content: a commit id). ``orphan`` starts the branch anew, as a forced push does."""
        head = None if orphan else self.head(branch)
        parts = [b"feature done\n", f"commit refs/heads/{branch}\ncommitter Ada <ada@example.com> 1700000000 +0000\n".encode(),
                 b"data %d\n%b\n" % (len(message.encode()), message.encode())]
        if head:
            parts.append(f"from {head}\n".encode())
        for path, content in files.items():
            raw = path if isinstance(path, bytes) else path.encode()
            name = b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'
            mode, data = content if isinstance(content, tuple) else ("100644", content)
            if data is None:
                parts.append(b"D " + name + b"\n")
            elif mode == "160000":
                parts.append(b"M 160000 " + data + b" " + name + b"\n")
            else:
                parts.append(b"M %b inline %b\ndata %d\n%b\n" % (mode.encode(), name, len(data), data))
        if orphan and self.head(branch):
            self.git("update-ref", "-d", f"refs/heads/{branch}")
        self.git("fast-import", "--quiet", "--done", "--force", data=b"".join([*parts, b"\ndone\n"]))
        found = self.head(branch)
        assert found
        return found

    def head(self, branch: str = "main") -> str | None:
        """The commit of a branch."""
        return self.ref(f"refs/heads/{branch}")

    def ref(self, name: str) -> str | None:
        """What a reference stands for; Git is asked only where it keeps the reference in no file of its own."""
        with suppress(OSError, ValueError):
            return (self.path / name).read_text().strip()
        lines = self.text("for-each-ref", "--format=%(refname) %(objectname)", name).splitlines()
        return dict(line.split(" ") for line in lines).get(name)

    def has_branches(self) -> bool:
        """Whether there is any branch; Git is asked only where none has a file of its own."""
        kept = (self.path / "refs" / "heads").rglob("*")
        return any(file.is_file() for file in kept) or bool(self.text("for-each-ref", "--count=1", "refs/heads"))

    def files(self, commit: str = "main") -> dict[str, bytes]:
        """Every file of a commit."""
        entries = [entry.split(b"\t", 1) for entry in self.git("ls-tree", "-r", "-z", commit).split(b"\0") if entry]
        contents = io.BytesIO(self.git("cat-file", "--batch", data=b"".join(info.split()[2] + b"\n" for info, _ in entries)))
        found = {}
        for _, name in entries:
            found[name.decode("utf-8", "surrogateescape")] = contents.read(int(contents.readline().split()[2]))
            contents.read(1)
        return found

    def hook(self, name: str, script: str) -> None:
        """Install a server-side hook."""
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


def make_bare(path: Path, *, partial: bool = True) -> BareRepository:
    """An empty bare repository on ``main``; ``partial`` lets clients leave contents out, as GitHub does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    repository = BareRepository(path)
    repository.git("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(path))
    with (path / "config").open("a") as config:
        config.write(f"[uploadpack]\n\tallowFilter = {str(partial).lower()}\n")
    return repository
