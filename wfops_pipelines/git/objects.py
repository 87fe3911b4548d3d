"""Git objects in a clone: trees listed, contents read, commits built — without a work tree, and without the remote."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import IO

from wfops_pipelines.domain.errors import MalformedFile, Rejected
from wfops_pipelines.git.command import Git, GitFailed
from wfops_pipelines.git.repository import Commit, EntryKind, TreeEntry

_KINDS = {"120000": EntryKind.SYMLINK, "160000": EntryKind.SUBMODULE}

MAX_ENTRIES = 100_000
"""Below a folder that is read: as many as GitHub lists of one."""
MAX_LISTING_BYTES = 64 * 1024 * 1024
"""Of their paths together, with what is listed beside each: some 70 bytes."""


class Missing(Exception):
    """An object that must be in the clone is not, or cannot be read."""


def list_tree(git: Git, commit: str, folder: str) -> list[TreeEntry]:
    """Every file, symlink and submodule below ``folder``; sizes where the content is in the clone.

    :class:`Rejected` when there are more than :data:`MAX_ENTRIES`: a few small trees that name each other many times are a
    fetch of nothing, and a listing without end."""
    if folder:
        named = _ls_tree(git, commit, folder)
        if not named:
            return []
        if named[0][1] != "tree":
            raise MalformedFile("the folder is a file, a symlink or a submodule in the repository", path=folder,
                                reason="not_a_folder", fix="name the folder that holds the workflows")
    entries = _ls_tree(git, commit, f"{folder}/" if folder else "", "-r", "-l")
    return [TreeEntry(path, name, _KINDS.get(mode, EntryKind.FILE), int(size) if size.isdigit() else None)
            for mode, _, name, size, path in entries]


_Entry = tuple[str, str, str, str, str]  # mode, type, name, size or "", path


def _ls_tree(git: Git, commit: str, path: str, *options: str) -> list[_Entry]:
    arguments = ["ls-tree", "-z", "--full-tree", *options, commit, *(["--", path] if path else [])]
    listing = _Listing()
    try:
        git.run(*arguments, take=listing.add)
    except _TooLarge as large:
        place = f"the folder {path.rstrip('/')!r}" if path else "the repository"
        raise Rejected(f"{place} holds {large}", target=git.address.url,
                       fix="name the folder that holds the workflows") from None
    return listing.entries


class _TooLarge(Exception):
    """A listing of more than is read."""


class _Listing:
    """What ``git ls-tree -z`` prints, as it comes."""

    def __init__(self) -> None:
        self.entries: list[_Entry] = []
        self._size = 0
        self._rest = bytearray()  # the beginning of an entry

    def add(self, piece: bytes) -> None:
        """The next bytes; :class:`_TooLarge` when they are too many, or too many entries."""
        self._size += len(piece)
        if self._size > MAX_LISTING_BYTES:
            raise _TooLarge(f"files whose paths are more than {MAX_LISTING_BYTES // 2**20} MiB long together")
        self._rest += piece
        if b"\0" not in piece:
            return
        *whole, rest = bytes(self._rest).split(b"\0")
        self._rest[:] = rest
        if len(self.entries) + len(whole) > MAX_ENTRIES:
            raise _TooLarge(f"more than {MAX_ENTRIES:,} files")
        self.entries += map(_entry, whole)


def _entry(line: bytes) -> _Entry:
    head, _, name = line.partition(b"\t")
    mode, kind, sha, size = (*head.decode().split(), "")[:4]
    return mode, kind, sha, size, name.decode("utf-8", "surrogateescape")


def read_contents(git: Git, blobs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """The content of each blob, as the stream comes: one at a time in memory. :class:`Missing` when one is not here."""
    names = list(blobs)
    with git.stream("cat-file", "--batch", "--buffer", data="".join(f"{name}\n" for name in names).encode()) as stream:
        for name in names:
            yield name, _next_content(stream, name)


def _next_content(stream: IO[bytes], name: str) -> bytes:
    head = stream.readline().decode().split()
    if len(head) != 3 or head[0] != name:
        raise Missing(name)
    content = stream.read(int(head[2]))
    if len(content) != int(head[2]) or stream.read(1) != b"\n":
        raise Missing(name)
    return content


def build_commit(git: Git, *, parent: str | None, changes: Mapping[str, bytes | None], message: str, author: str,
                 email: str, when: datetime, ref: str) -> tuple[str, bool]:
    """A commit on ``parent`` with files set or deleted, kept by ``ref``: its id, and whether its tree differs from the
    parent's. The same arguments give the same commit."""
    person = f"{_name(author)} <{_name(email)}> {int(when.astimezone(UTC).timestamp())} +0000"
    parts = [b"feature done\n", f"commit {ref}\nauthor {person}\ncommitter {person}\n".encode(),
             _data(message.encode())]
    if parent:
        parts.append(f"from {parent}\n".encode())
    for path in sorted(changes):
        content = changes[path]
        if content is None:
            parts.append(b"D " + _quote(path) + b"\n")
        else:
            parts += [b"M 100644 inline ", _quote(path), b"\n", _data(content)]
    parts.append(b"\ndone\n")
    git.run("fast-import", "--quiet", "--done", "--force", "--date-format=raw", data=b"".join(parts))
    wanted = [ref, f"{ref}^{{tree}}", *([f"{parent}^{{tree}}"] if parent else [])]
    names = git.run("rev-parse", *wanted).stdout.decode().split()
    return names[0], parent is None or names[1] != names[2]


def _data(content: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(content), content)


def _name(text: str) -> str:
    """What may stand in a commit's author line."""
    return " ".join(text.translate({ord(c): " " for c in "<>\n\r\0"}).split())


def _quote(path: str) -> bytes:
    raw = path.encode("utf-8", "surrogateescape")
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n") + b'"'


def last_commit(git: Git, commit: str, path: str) -> Commit | None:
    """The last commit at or before ``commit`` that touched ``path``."""
    pattern = "%H%x00%an%x00%ae%x00%ct%x00%B"
    output = git.run("log", "-1", "--no-mailmap", "--no-show-signature", "--encoding=UTF-8", f"--format={pattern}",
                     commit, "--", path).stdout.decode("utf-8", "replace")
    if not output:
        return None
    sha, author, email, seconds, message = output.split("\0", 4)
    return Commit(sha, author, email, datetime.fromtimestamp(int(seconds), UTC), message.rstrip("\n"))


def is_ancestor(git: Git, ancestor: str, commit: str) -> bool:
    """Whether ``ancestor`` is ``commit`` or reachable from it; both must be here."""
    try:
        git.run("merge-base", "--is-ancestor", ancestor, commit)
    except GitFailed as failed:
        if failed.code == 1:
            return False
        raise
    return True
