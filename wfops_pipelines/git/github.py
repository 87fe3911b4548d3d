"""GitHub: heads, commits and pull requests through its REST API (PyGithub), contents through Git itself.

Why both (measured): an unchanged head is a conditional GET that GitHub answers with 304 and does not count; a changed
repository is **one** git fetch over HTTPS with the same token, which costs no API call where the API would take one
per file, and knows no truncated trees and no comparisons against a wrong base. So :class:`PlainRepository` reads, and
writing is GitHub's: five calls a commit, checked by GitHub's own rules.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

import github
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from github.GitCommit import GitCommit
from github.GitRef import GitRef
from github.GitTree import GitTree
from github.InputGitAuthor import InputGitAuthor
from github.InputGitTreeElement import InputGitTreeElement
from github.PullRequest import PullRequest as GitHubPullRequest
from github.Repository import Repository as GitHubApiRepository

from wfops_pipelines import failpoints
from wfops_pipelines.domain.errors import HeadMoved, NotFound, OutsideError, Rejected, UsageError
from wfops_pipelines.git.address import check_branch, check_object, check_path, parse_address
from wfops_pipelines.git.clone import home_of
from wfops_pipelines.git.command import Secret
from wfops_pipelines.git.github_calls import GitHubCalls, no_app_key
from wfops_pipelines.git.plain import PlainRepository
from wfops_pipelines.git.repository import (
    MAX_FILE_BYTES,
    Commit,
    PullRequest,
    PullRequestState,
    RepositorySource,
    TreeEntry,
)

SECONDS_BETWEEN_REQUESTS = 0.0
SECONDS_BETWEEN_WRITES = 0.25  # GitHub allows some 80 content writes a minute; a commit is three
_BATCH_FILES, _BATCH_BYTES = 300, 4 * 1024 * 1024


def open_github(source: RepositorySource, *, cache: Path,
                sleep: Callable[[float], None] = time.sleep) -> GitHubRepository:
    """The repository of a GitHub source: ``https://github.com/OWNER/NAME``, its SSH form, or ``OWNER/NAME``."""
    host_url, full_name = _place(source.url)
    host = urlsplit(host_url).hostname
    api_url = source.api_url or ("https://api.github.com" if host == "github.com" else f"{host_url}/api/v3")
    if source.secret and source.github_app is None and not (source.secret.isascii() and source.secret.isprintable()):
        raise UsageError("the token of GitHub holds characters that no token has", fix="copy it from GitHub once more")
    auth: github.Auth.Auth | None = None
    if source.github_app is not None:
        app = source.github_app
        _check_key(app.private_key)
        auth = github.Auth.AppAuth(app.app_id, app.private_key).get_installation_auth(app.installation_id)
    elif source.secret:
        auth = github.Auth.Token(source.secret)
    api = github.Github(base_url=api_url, auth=auth, timeout=30, per_page=100, retry=None, user_agent="wfops",
                        seconds_between_requests=SECONDS_BETWEEN_REQUESTS,
                        seconds_between_writes=SECONDS_BETWEEN_WRITES)
    return GitHubRepository(api, auth, clone_url=f"{host_url}/{full_name}.git", full_name=full_name, cache=cache,
                            sleep=sleep)


def _check_key(private_key: str) -> None:
    """:class:`UsageError` for what GitHub's Apps do not sign with: PyGithub says so in words of its own, and late."""
    try:  # whether it is a good one is GitHub's to say; to find out takes 100 times as long
        key: object = load_pem_private_key(private_key.encode(), None, unsafe_skip_rsa_key_validation=True)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise no_app_key()


def _place(url: str) -> tuple[str, str]:
    """``(https://host, OWNER/NAME)`` of what a user wrote."""
    if url.count("/") == 1 and ":" not in url:
        url = f"https://github.com/{url}"
    address = parse_address(url)
    text = address.url if "://" in address.url else "ssh://" + address.url.replace(":", "/", 1)
    parts = urlsplit(text)
    names = parts.path.strip("/").removesuffix(".git").split("/")
    if len(names) != 2 or not all(names) or not parts.hostname:
        raise UsageError(f"{address.url!r} names no repository on GitHub", fix="use https://github.com/OWNER/NAME")
    base = f"{parts.scheme}://{parts.netloc}" if parts.scheme in {"http", "https"} else f"https://{parts.hostname}"
    return base, "/".join(names)


class GitHubRepository:
    """One repository on GitHub, for one tenant. Implements ``Repository``; PyGithub's objects stay in here."""

    def __init__(self, api: github.Github, auth: github.Auth.Auth | None, *, clone_url: str, full_name: str,
                 cache: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        address = parse_address(clone_url)
        self._api = api
        self._full_name = full_name
        token = _token_source(auth, GitHubCalls(address.url, secret=lambda: None, sleep=sleep))
        self._calls = GitHubCalls(address.url, secret=token, sleep=sleep)
        self._git = PlainRepository(address, secret=token, cache=cache)
        self._heads = _Heads(home_of(cache, address) / "heads.json")
        # Made from its name, without asking: not lazy, because a lazy reference is written to a URL that is none.
        self._repository = api.create_from_raw_data(GitHubApiRepository, {"url": f"/repos/{full_name}",
                                                                          "full_name": full_name})

    @property
    def display_url(self) -> str:
        """The URL without credentials."""
        return self._git.display_url

    def head(self, branch: str) -> str | None:
        """See ``Repository.head``: one conditional GET, with the ETag of the last answer any process had."""
        check_branch(branch)
        failpoints.reach("git.head.before")
        etag, known = self._heads.get(branch)
        try:
            headers, data = self._calls(f"reading branch {branch}", lambda: self._api.requester.requestJsonAndCheck(
                "GET", f"/repos/{self._full_name}/git/ref/heads/{quote(branch)}",
                headers={"If-None-Match": etag} if etag else {}))
        except NotFound:  # so says GitHub of a branch that is not there, and of a repository that nobody may see
            _, data = self._calls("reading the repository", lambda: self._api.requester.requestJsonAndCheck(
                "GET", f"/repos/{self._full_name}"))
            if not isinstance(data, dict) or "full_name" not in data:
                raise self._odd() from None
            return None
        except OutsideError as error:
            if error.status == 409:  # "Git Repository is empty."
                return None
            raise
        if data is None and etag:  # 304: nothing else without content comes as far as this
            return known
        try:
            sha = check_object(data["object"]["sha"])
        except (KeyError, TypeError, UsageError):
            raise self._odd() from None
        self._heads.put(branch, headers.get("etag"), sha)
        return sha

    def _odd(self) -> Rejected:
        return Rejected("the answer is none that GitHub gives", target=self.display_url, fix="check api_url")

    def tree(self, commit: str, folder: str) -> list[TreeEntry]:
        """See ``Repository.tree``; by git fetch."""
        return self._git.tree(commit, folder)

    def read_blobs(self, commit: str, blobs: Iterable[str], *,
                   max_bytes: int = MAX_FILE_BYTES) -> Iterator[tuple[str, bytes | None]]:
        """See ``Repository.read_blobs``; by git fetch."""
        return self._git.read_blobs(commit, blobs, max_bytes=max_bytes)

    def last_commit(self, commit: str, path: str) -> Commit | None:
        """See ``Repository.last_commit``; from the clone."""
        return self._git.last_commit(commit, path)

    def contains(self, commit: str, ancestor: str) -> bool:
        """See ``Repository.contains``; from the clone."""
        return self._git.contains(commit, ancestor)

    def commit(self, branch: str, *, expected_head: str | None, changes: Mapping[str, bytes | None], message: str,
               author: str, email: str, when: datetime) -> str:
        """See ``Repository.commit``: tree, commit and reference, without force. A branch's first commit is pushed by
        git: GitHub's API makes none in an empty repository."""
        _check_changes(branch, changes, when)
        if expected_head is None or not all(_is_unicode(path) for path in changes):
            return self._git.commit(branch, expected_head=expected_head, changes=changes, message=message,
                                    author=author, email=email, when=when)
        ref = self._reference(branch)
        if ref is None or ref.object.sha != expected_head:
            raise self._moved(branch)
        parent, tree = self._build_tree(expected_head, changes)
        if tree.sha == parent.tree.sha:
            return expected_head
        made = self._make_commit(tree, [parent], message, _person(author, email, when))
        self._move(ref, branch, made.sha)
        return made.sha

    def open_pull_request(self, base: str, *, expected_head: str, branch: str, changes: Mapping[str, bytes | None],
                          title: str, body: str, message: str, author: str, email: str, when: datetime) -> PullRequest:
        """See ``Repository.open_pull_request``. Nothing is forced: where the branch and ``base`` went different ways,
        the new commit has both as parents, so that the request shows exactly ``changes``."""
        _check_changes(branch, changes, when)
        if base == branch:
            raise UsageError(f"a pull request needs a branch of its own, not {base!r}")
        if not all(_is_unicode(path) for path in changes):
            raise UsageError("GitHub's API takes no path that is not UTF-8", fix="rename the file, or push the change")
        if self.head(base) != expected_head:
            raise self._moved(base)
        parent, tree = self._build_tree(expected_head, changes)
        if tree.sha == parent.tree.sha:
            raise UsageError(f"nothing differs from {base!r}: there is nothing to request")
        self._bring_branch(branch, parent, tree, message, _person(author, email, when))
        return self._bring_request(base, branch, title, body)

    def pull_request_state(self, url: str) -> PullRequestState:
        """See ``Repository.pull_request_state``."""
        pull = self._pull_request(url)
        if pull is None:
            return PullRequestState.CLOSED
        return PullRequestState.MERGED if pull.merged else PullRequestState(pull.state)

    def close_pull_request(self, url: str) -> None:
        """See ``Repository.close_pull_request``."""
        pull = self._pull_request(url)
        if pull is not None and pull.state == "open":
            self._calls("closing the pull request", partial(pull.edit, state="closed"))

    def close(self) -> None:
        """Give the connections back; the clone stays."""
        self._api.close()
        self._git.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.display_url!r})"

    def _reference(self, branch: str) -> GitRef | None:
        try:
            return self._calls(f"reading branch {branch}", lambda: self._repository.get_git_ref(f"heads/{branch}"))
        except NotFound:
            return None

    def _build_tree(self, commit: str, changes: Mapping[str, bytes | None]) -> tuple[GitCommit, GitTree]:
        """The commit, and a tree that is its own with the changes made."""
        parent = self._calls("reading the commit", lambda: self._repository.get_git_commit(commit))
        there = set()
        if any(content is None for content in changes.values()):  # GitHub refuses to delete what is not there
            there = {entry.path for entry in self._git.tree(commit, "")}
        tree = parent.tree
        for batch in _batches({path: content for path, content in changes.items()
                               if content is not None or path in there}):
            elements = [self._element(path, content) for path, content in batch]
            tree = self._calls("writing the tree", partial(self._repository.create_git_tree, elements, base_tree=tree))
        return parent, tree

    def _element(self, path: str, content: bytes | None) -> InputGitTreeElement:
        if content is None:
            return InputGitTreeElement(path, "100644", "blob", sha=None)
        with contextlib.suppress(UnicodeDecodeError):
            if b"\0" not in content:
                return InputGitTreeElement(path, "100644", "blob", content=content.decode())
        blob = self._calls(f"writing {path}", lambda: self._repository.create_git_blob(b64encode(content).decode(),
                                                                                      "base64"))
        return InputGitTreeElement(path, "100644", "blob", sha=blob.sha)

    def _make_commit(self, tree: GitTree, parents: list[GitCommit], message: str, person: InputGitAuthor) -> GitCommit:
        return self._calls("writing the commit", lambda: self._repository.create_git_commit(
            message, tree, parents, author=person, committer=person))

    def _move(self, ref: GitRef, branch: str, commit: str) -> None:
        failpoints.reach("git.push.before")
        try:
            self._calls(f"moving branch {branch}", lambda: ref.edit(commit, force=False))
        except (Rejected, NotFound) as error:
            moved = "fast forward" in str(error) or "does not exist" in str(error) or isinstance(error, NotFound)
            if not moved:
                raise
            if self.head(branch) != commit:
                raise self._moved(branch) from None
        failpoints.reach("git.push.after")

    def _moved(self, branch: str) -> HeadMoved:
        return HeadMoved(f"branch {branch} moved while the commit was made", target=self.display_url,
                         fix="read it again and retry")

    def _bring_branch(self, branch: str, base: GitCommit, tree: GitTree, message: str, person: InputGitAuthor) -> None:
        """The branch with a commit of this tree on top, which has ``base`` among its ancestors."""
        ref = self._reference(branch)
        if ref is None:
            made = self._make_commit(tree, [base], message, person)
            self._calls(f"making branch {branch}", lambda: self._repository.create_git_ref(f"refs/heads/{branch}",
                                                                                           made.sha))
            return
        tip = self._calls("reading the commit", lambda: self._repository.get_git_commit(ref.object.sha))
        up_to_date = self.contains(tip.sha, base.sha)
        if up_to_date and tip.tree.sha == tree.sha:
            return
        parents = [tip] if up_to_date else [base] if self.contains(base.sha, tip.sha) else [tip, base]
        self._move(ref, branch, self._make_commit(tree, parents, message, person).sha)

    def _pull_request(self, url: str) -> GitHubPullRequest | None:
        """One of this repository, by its page; none where it has none such (any more)."""
        number = url.rpartition("/pull/")[2]
        if not number.isdigit():
            return None
        try:
            pull = self._calls("reading the pull request", lambda: self._repository.get_pull(int(number)))
        except NotFound:
            return None
        return pull if pull.html_url == url else None

    def _bring_request(self, base: str, branch: str, title: str, body: str) -> PullRequest:
        owner = self._full_name.partition("/")[0]
        for last_try in (False, True):
            found = self._calls("listing pull requests", lambda: list(
                self._repository.get_pulls(state="open", head=f"{owner}:{branch}", base=base)))
            if found:
                pull = found[0]
                if (pull.title, pull.body or "") != (title, body):
                    self._calls("updating the pull request", partial(pull.edit, title=title, body=body))
                return PullRequest(pull.number, pull.html_url, branch)
            try:
                made = self._calls("opening the pull request", lambda: self._repository.create_pull(
                    base, branch, title=title, body=body))
                return PullRequest(made.number, made.html_url, branch)
            except Rejected as error:
                if last_try or "already exists" not in str(error):
                    raise
        raise AssertionError  # the loop returns or raises


def _token_source(auth: github.Auth.Auth | None, calls: GitHubCalls) -> Secret:
    """Where git gets its token from; an app's lasts an hour and is asked for anew by PyGithub."""
    if auth is None:
        return lambda: None
    if isinstance(auth, github.Auth.Token):
        return lambda: auth.token
    return lambda: calls("asking for the app installation's token", lambda: auth.token)


class _Heads:
    """The last known head and ETag of each branch, in a file, so that a new process asks conditionally too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def get(self, branch: str) -> tuple[str | None, str | None]:
        """``(etag, commit)``, or nothing where the file is not there or not ours."""
        known = self._read().get(branch)
        if isinstance(known, list) and len(known) == 2 and all(isinstance(part, str) for part in known):
            return known[0], known[1]
        return None, None

    def put(self, branch: str, etag: str | None, commit: str) -> None:
        """Remember an answer; another process's newer one may be lost, which costs one unconditional request."""
        if not etag:
            return
        with self._lock:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = json.dumps(self._read() | {branch: [etag, commit]})
            with tempfile.NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
                file.write(text)
            os.replace(file.name, self._path)  # noqa: PTH105 - both are plain names

    def _read(self) -> dict[str, object]:
        try:
            known = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def _check_changes(branch: str, changes: Mapping[str, bytes | None], when: datetime) -> None:
    check_branch(branch)
    for path in changes:
        check_path(path)
    if when.tzinfo is None:
        raise UsageError("a commit's time needs a time zone")


def _is_unicode(path: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in path)


def _person(author: str, email: str, when: datetime) -> InputGitAuthor:
    return InputGitAuthor(author, email, when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def _batches(changes: Mapping[str, bytes | None]) -> Iterator[list[tuple[str, bytes | None]]]:
    """The changes in parts that fit a request each."""
    batch: list[tuple[str, bytes | None]] = []
    size = 0
    for path, content in sorted(changes.items()):
        batch.append((path, content))
        size += len(content or b"")
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
