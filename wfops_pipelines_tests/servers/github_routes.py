"""What each call of GitHub's API does to a bare repository, and answers."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wfops_pipelines_tests.servers import github_answers as answers
from wfops_pipelines_tests.servers.github_answers import Json, Place

_SHA = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a JSON body and headers of its own."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class State:
    """What GitHub keeps beside the repositories."""

    protected: set[str] = field(default_factory=set)  # branches that only pull requests may change
    pulls: dict[str, list[Json]] = field(default_factory=dict)
    hooks: dict[str, list[Json]] = field(default_factory=dict)
    pings: list[int] = field(default_factory=list)
    tree_limit: int = 100_000


@dataclass(frozen=True, slots=True)
class Call:
    """One call on one repository; ``path`` is what follows its name."""

    place: Place
    method: str
    path: str
    query: Mapping[str, str]
    sent: Any
    state: State

    def tail(self, prefix: str) -> str:
        """What follows ``prefix`` in the path."""
        return self.path[len(prefix):]

    def resolve(self, name: str, kind: str = "commit") -> str | None:
        """The object a name stands for: a branch or an id."""
        git = self.place.repository
        if not _SHA.fullmatch(name):
            head = git.head(name)
            return head if head is None or kind == "commit" else git.text("rev-parse", f"{head}^{{{kind}}}")
        found = git.text("cat-file", "--batch-check", data=f"{name}^{{{kind}}}\n".encode())
        return None if found.endswith(("missing", "ambiguous")) else found.split()[0]


NOT_FOUND = Answer(404, answers.error("Not Found"))
EMPTY = Answer(409, answers.error("Git Repository is empty."))


def _is_empty(call: Call) -> bool:
    return not call.place.repository.has_branches()


def get_repository(call: Call) -> Answer:
    """GET /repos/{owner}/{repo}"""
    return Answer(200, answers.repository(call.place))


def get_ref(call: Call) -> Answer:
    """GET …/git/ref/{ref}"""
    if _is_empty(call):
        return EMPTY
    name = f"refs/{call.tail('git/ref/')}"
    found = call.place.repository.ref(name)
    return Answer(200, answers.reference(call.place, name, found)) if found else NOT_FOUND


def matching_refs(call: Call) -> Answer:
    """GET …/git/matching-refs/{ref}"""
    prefix = f"refs/{call.tail('git/matching-refs/')}"
    lines = call.place.repository.text("for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    return Answer(200, [answers.reference(call.place, *line.split(" ")) for line in lines if line.startswith(prefix)])


def create_ref(call: Call) -> Answer:
    """POST …/git/refs"""
    name, sha = call.sent["ref"], call.sent["sha"]
    if _is_empty(call):
        return EMPTY
    if not call.resolve(sha):
        return Answer(422, answers.error("Object does not exist"))
    if call.place.repository.head(name.removeprefix("refs/heads/")):
        return Answer(422, answers.error("Reference already exists"))
    call.place.repository.git("update-ref", name, sha)
    return Answer(201, answers.reference(call.place, name, sha))


def change_ref(call: Call) -> Answer:
    """PATCH and DELETE …/git/refs/{ref}"""
    name = f"refs/{call.tail('git/refs/')}"
    branch = name.removeprefix("refs/heads/")
    git, head = call.place.repository, call.place.repository.head(branch)
    if head is None:
        return Answer(422, answers.error("Reference does not exist"))
    if branch in call.state.protected:
        return Answer(422, answers.error("Repository rule violations found: changes must be made through a pull request."))
    if call.method == "DELETE":
        git.git("update-ref", "-d", name)
        return Answer(204)
    sha = call.sent["sha"]
    if not call.resolve(sha):
        return Answer(422, answers.error("Object does not exist"))
    if not call.sent.get("force") and git.text("merge-base", "--all", sha, head) != head:
        return Answer(422, answers.error("Update is not a fast forward"))
    git.git("update-ref", name, sha, head)
    return Answer(200, answers.reference(call.place, name, sha))


def get_git_commit(call: Call) -> Answer:
    """GET …/git/commits/{sha}"""
    sha = call.resolve(call.tail("git/commits/"))
    return Answer(200, answers.git_commit(call.place, sha)) if sha else NOT_FOUND


def create_commit(call: Call) -> Answer:
    """POST …/git/commits"""
    sent = call.sent
    author = sent.get("author") or {"name": "octocat", "email": "octocat@example.com", "date": "2026-01-01T00:00:00Z"}
    committer = sent.get("committer") or author
    environment = {f"GIT_{role}_{part.upper()}": person[part] for role, person in
                   (("AUTHOR", author), ("COMMITTER", committer)) for part in ("name", "email", "date")}
    parents = [part for parent in sent.get("parents", []) for part in ("-p", parent)]
    sha = call.place.repository.git("commit-tree", sent["tree"], *parents, "-F", "-", data=sent["message"].encode(),
                                    environment=environment).decode().strip()
    return Answer(201, answers.git_commit(call.place, sha))


def get_tree(call: Call) -> Answer:
    """GET …/git/trees/{sha}"""
    sha = call.resolve(call.tail("git/trees/"), "tree")
    if sha is None:
        return EMPTY if _is_empty(call) else NOT_FOUND
    return Answer(200, answers.tree(call.place, sha, recursive="recursive" in call.query, limit=call.state.tree_limit))


def create_tree(call: Call) -> Answer:
    """POST …/git/trees"""
    git = call.place.repository
    if _is_empty(call):
        return EMPTY
    with tempfile.TemporaryDirectory() as directory:
        index = {"GIT_INDEX_FILE": str(Path(directory) / "index")}
        if base := call.sent.get("base_tree"):
            git.git("read-tree", base, environment=index)
        there = set(git.git("ls-files", "-z", environment=index).split(b"\0"))
        lines = []
        for entry in call.sent["tree"]:
            path = entry["path"].encode()
            sha: str | None
            if "content" in entry:
                sha = git.text("hash-object", "-w", "--stdin", data=entry["content"].encode())
            else:
                sha = entry["sha"]
            if sha is None and path not in there:
                return Answer(422, answers.error("GitRPC::BadObjectState"))
            mode = b"0" if sha is None else entry["mode"].encode()
            lines.append(mode + b" " + (sha or "0" * 40).encode() + b"\t" + path + b"\0")
        git.git("update-index", "-z", "--add", "--replace", "--index-info", data=b"".join(lines), environment=index)
        made = git.git("write-tree", environment=index).decode().strip()
    return Answer(201, answers.tree(call.place, made, recursive=False, limit=call.state.tree_limit))


def get_blob(call: Call) -> Answer:
    """GET …/git/blobs/{sha}"""
    sha = call.resolve(call.tail("git/blobs/"), "blob")
    return Answer(200, answers.blob(call.place, sha)) if sha else NOT_FOUND


def create_blob(call: Call) -> Answer:
    """POST …/git/blobs"""
    if _is_empty(call):
        return EMPTY
    content = call.sent["content"]
    raw = base64.b64decode(content) if call.sent.get("encoding") == "base64" else content.encode()
    sha = call.place.repository.text("hash-object", "-w", "--stdin", data=raw)
    return Answer(201, {"sha": sha, "url": f"{call.place.url}/git/blobs/{sha}"})


def get_branch(call: Call) -> Answer:
    """GET …/branches/{branch}"""
    name = call.tail("branches/")
    head = call.place.repository.head(name)
    if head is None:
        return Answer(404, answers.error("Branch not found"))
    return Answer(200, answers.branch(call.place, name, head, protected=name in call.state.protected))


def list_commits(call: Call) -> Answer:
    """GET …/commits"""
    start = call.resolve(call.query.get("sha", "main"))
    if start is None:
        return EMPTY if _is_empty(call) else NOT_FOUND
    many, page = int(call.query.get("per_page", "30")), int(call.query.get("page", "1"))
    path = ["--", call.query["path"]] if "path" in call.query else []
    found = call.place.repository.text("rev-list", f"--max-count={many}", f"--skip={(page - 1) * many}", start, *path)
    return Answer(200, [answers.commit(call.place, sha) for sha in found.split()])


def get_commit(call: Call) -> Answer:
    """GET …/commits/{ref}"""
    sha = call.resolve(call.tail("commits/"))
    return Answer(200, answers.commit(call.place, sha)) if sha else Answer(422, answers.error("No commit found for SHA"))


def compare(call: Call) -> Answer:
    """GET …/compare/{base}...{head}"""
    base, head = (call.resolve(name) for name in call.tail("compare/").split("...", 1))
    return Answer(200, answers.comparison(call.place, base, head)) if base and head else NOT_FOUND


def contents(call: Call) -> Answer:
    """GET, PUT and DELETE …/contents/{path}"""
    path, git = call.tail("contents/"), call.place.repository
    if call.method == "GET":
        ref = call.query.get("ref", "main")
        commit = call.resolve(ref)
        blob = git.text("ls-tree", "--format=%(objectname)", commit, "--", path) if commit else ""
        return Answer(200, answers.content(call.place, path, blob, ref)) if blob else NOT_FOUND
    branch = call.sent.get("branch", "main")
    head = git.head(branch)
    before = git.text("ls-tree", "--format=%(objectname)", head, "--", path) if head else ""
    if before != call.sent.get("sha", ""):
        return Answer(409, answers.error(f"{path} does not match {before}"))
    new = None if call.method == "DELETE" else base64.b64decode(call.sent["content"])
    sha = git.commit({path: new}, branch=branch, message=call.sent["message"])
    found = None if new is None else answers.content(call.place, path, git.text("rev-parse", f"{sha}:{path}"), branch)
    return Answer(200 if before else 201, {"content": found, "commit": answers.git_commit(call.place, sha)})


def pulls(call: Call) -> Answer:
    """GET and POST …/pulls"""
    known = call.state.pulls.setdefault(call.place.full_name, [])
    owner = call.place.full_name.partition("/")[0]
    if call.method == "GET":
        wanted = {"state": call.query.get("state", "open"), "base": call.query.get("base"),
                  "head": call.query.get("head", "").removeprefix(f"{owner}:") or None}
        chosen = [pull for pull in known if all(value in {None, "all", pull[key]} for key, value in wanted.items())]
        return Answer(200, [answers.pull_request(call.place, pull, whole=False) for pull in chosen])
    head, base = call.sent["head"].removeprefix(f"{owner}:"), call.sent["base"]
    git = call.place.repository
    if not git.head(head) or not git.head(base):
        return Answer(422, answers.error("Validation Failed", "head or base is invalid"))
    if any(pull["head"] == head and pull["base"] == base and pull["state"] == "open" for pull in known):
        return Answer(422, answers.error("Validation Failed", f"A pull request already exists for {owner}:{head}."))
    if not git.text("rev-list", f"{base}..{head}"):
        return Answer(422, answers.error("Validation Failed", f"No commits between {base} and {head}"))
    known.append({"number": len(known) + 1, "state": "open", "head": head, "base": base, "title": call.sent["title"],
                  "body": call.sent.get("body")})
    return Answer(201, answers.pull_request(call.place, known[-1], whole=True))


def one_pull(call: Call) -> Answer:
    """GET and PATCH …/pulls/{number}"""
    number = int(call.tail("pulls/"))
    pull = next((pull for pull in call.state.pulls.get(call.place.full_name, []) if pull["number"] == number), None)
    if pull is None:
        return NOT_FOUND
    if call.method == "PATCH":
        pull |= {key: value for key, value in call.sent.items() if key in {"title", "body", "state", "base"}}
    return Answer(200, answers.pull_request(call.place, pull, whole=True))


def hooks(call: Call) -> Answer:
    """GET and POST …/hooks"""
    known = call.state.hooks.setdefault(call.place.full_name, [])
    if call.method == "GET":
        return Answer(200, [answers.hook(call.place, **hook) for hook in known])
    known.append({"number": len(known) + 1, "config": call.sent["config"], "events": call.sent.get("events", ["push"]),
                  "active": call.sent.get("active", True)})
    return Answer(201, answers.hook(call.place, **known[-1]))


def one_hook(call: Call) -> Answer:
    """DELETE …/hooks/{id} and POST …/hooks/{id}/pings"""
    number = int(call.tail("hooks/").split("/")[0])
    known = call.state.hooks.get(call.place.full_name, [])
    found = next((hook for hook in known if hook["number"] == number), None)
    if found is None:
        return NOT_FOUND
    if call.method == "DELETE":
        known.remove(found)
    else:
        call.state.pings.append(number)
    return Answer(204)


_ROUTES: tuple[tuple[str, str, Callable[[Call], Answer]], ...] = (
    ("GET", r"", get_repository), ("GET", r"git/ref/.+", get_ref), ("GET", r"git/matching-refs/.+", matching_refs),
    ("POST", r"git/refs", create_ref), ("PATCH|DELETE", r"git/refs/.+", change_ref),
    ("GET", r"git/commits/[^/]+", get_git_commit), ("POST", r"git/commits", create_commit),
    ("GET", r"git/trees/.+", get_tree), ("POST", r"git/trees", create_tree),
    ("GET", r"git/blobs/[^/]+", get_blob), ("POST", r"git/blobs", create_blob),
    ("GET", r"branches/.+", get_branch), ("GET", r"commits", list_commits), ("GET", r"commits/.+", get_commit),
    ("GET", r"compare/.+\.\.\..+", compare), ("GET|PUT|DELETE", r"contents/.+", contents),
    ("GET|POST", r"pulls", pulls), ("GET|PATCH", r"pulls/\d+", one_pull), ("GET|POST", r"hooks", hooks),
    ("DELETE", r"hooks/\d+", one_hook), ("POST", r"hooks/\d+/pings", one_hook),
)


def find_route(method: str, path: str) -> Callable[[Call], Answer] | None:
    """What answers a call; ``PATCH …/git/ref/…`` finds nothing, as on GitHub."""
    for methods, pattern, route in _ROUTES:
        if re.fullmatch(methods, method) and re.fullmatch(pattern, path, re.DOTALL):
            return route
    return None
