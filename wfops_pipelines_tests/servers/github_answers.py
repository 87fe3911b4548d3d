"""The shapes of GitHub's answers, as its published description wants them, filled from a real bare repository."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from wfops_pipelines_tests.servers.bare import BareRepository

Json = dict[str, Any]
_MOMENT = "2026-01-01T00:00:00Z"
_REPOSITORY_URLS = (
    "archive", "assignees", "blobs", "branches", "collaborators", "comments", "commits", "compare", "contents",
    "contributors", "deployments", "downloads", "events", "forks", "git_commits", "git_refs", "git_tags", "hooks",
    "issue_comment", "issue_events", "issues", "keys", "labels", "languages", "merges", "milestones", "notifications",
    "pulls", "releases", "stargazers", "statuses", "subscribers", "subscription", "tags", "teams", "trees")
_USER_URLS = ("events", "followers", "following", "gists", "organizations", "received_events", "repos", "starred",
              "subscriptions")


@dataclass(frozen=True, slots=True)
class Place:
    """One repository as GitHub names it."""

    repository: BareRepository
    full_name: str
    api: str  # http://127.0.0.1:1234/api/v3
    web: str  # http://127.0.0.1:1234

    @property
    def url(self) -> str:
        """Its API URL."""
        return f"{self.api}/repos/{self.full_name}"

    @property
    def html(self) -> str:
        """Its page."""
        return f"{self.web}/{self.full_name}"


def user(login: str, api: str) -> Json:
    """A simple user."""
    url = f"{api}/users/{login}"
    return {"login": login, "id": 1, "node_id": "U_1", "avatar_url": f"{url}/avatar", "gravatar_id": "", "url": url,
            "html_url": url, "type": "User", "site_admin": False} | {f"{name}_url": f"{url}/{name}" for name in _USER_URLS}


def whole_user(login: str, api: str) -> Json:
    """The answer to ``GET /user``."""
    empty = dict.fromkeys(("bio", "blog", "company", "email", "hireable", "location", "name"))
    counts = dict.fromkeys(("followers", "following", "public_gists", "public_repos"), 0)
    return user(login, api) | empty | counts | {"created_at": _MOMENT, "updated_at": _MOMENT}


def repository(place: Place) -> Json:
    """The repository itself."""
    owner, _, name = place.full_name.partition("/")
    flags = dict.fromkeys(("fork", "private", "has_pages", "has_wiki", "has_discussions", "archived", "disabled",
                           "has_projects"), False)
    counts = dict.fromkeys(("forks", "forks_count", "open_issues", "open_issues_count", "size", "stargazers_count",
                            "watchers", "watchers_count", "network_count", "subscribers_count"), 0)
    nothing = dict.fromkeys(("description", "homepage", "language", "mirror_url", "license"))
    urls = {f"{part}_url": f"{place.url}/{part}" for part in _REPOSITORY_URLS}
    return flags | counts | nothing | urls | {
        "id": 1, "node_id": "R_1", "name": name, "full_name": place.full_name, "owner": user(owner, place.api),
        "url": place.url, "html_url": place.html, "clone_url": f"{place.html}.git", "git_url": f"{place.html}.git",
        "ssh_url": f"git@127.0.0.1:{place.full_name}.git", "svn_url": place.html, "default_branch": "main",
        "has_issues": True, "has_downloads": True, "pushed_at": _MOMENT, "created_at": _MOMENT, "updated_at": _MOMENT}


def reference(place: Place, name: str, sha: str) -> Json:
    """A git reference; its URL is the plural form that takes PATCH and DELETE."""
    return {"ref": name, "node_id": "REF_1", "url": f"{place.url}/git/{name}",
            "object": {"type": "commit", "sha": sha, "url": f"{place.url}/git/commits/{sha}"}}


def git_commit(place: Place, sha: str) -> Json:
    """A commit as the git database shows it."""
    raw = _commit_fields(place.repository, sha)
    return {"sha": sha, "node_id": f"C_{sha[:7]}", "url": f"{place.url}/git/commits/{sha}",
            "html_url": f"{place.html}/commit/{sha}", "author": raw["author"], "committer": raw["committer"],
            "message": raw["message"], "tree": {"sha": raw["tree"], "url": f"{place.url}/git/trees/{raw['tree']}"},
            "parents": [{"sha": parent, "url": f"{place.url}/git/commits/{parent}",
                         "html_url": f"{place.html}/commit/{parent}"} for parent in raw["parents"]],
            "verification": {"verified": False, "reason": "unsigned", "signature": None, "payload": None,
                             "verified_at": None}}


def commit(place: Place, sha: str) -> Json:
    """A commit as lists and comparisons show it."""
    inner = git_commit(place, sha)
    url = f"{place.url}/commits/{sha}"
    return {"sha": sha, "node_id": inner["node_id"], "url": url, "html_url": inner["html_url"],
            "comments_url": f"{url}/comments", "author": None, "committer": None, "parents": inner["parents"],
            "commit": {key: inner[key] for key in ("author", "committer", "message", "tree", "url", "verification")}
            | {"comment_count": 0}}


def tree(place: Place, sha: str, *, recursive: bool, limit: int) -> Json:
    """A tree; past ``limit`` entries it is cut off and says so."""
    options = ["-r", "-t"] if recursive else []
    entries = []
    for line in place.repository.git("ls-tree", "-z", "-l", *options, sha).split(b"\0"):
        if line:
            head, _, path = line.partition(b"\t")
            mode, kind, name, size = head.decode().split()
            url = f"{place.url}/git/{kind}s/{name}"
            entries.append({"path": path.decode(), "mode": mode, "type": kind, "sha": name, "url": url}
                           | ({"size": int(size)} if size.isdigit() else {}))
    return {"sha": sha, "url": f"{place.url}/git/trees/{sha}", "tree": entries[:limit], "truncated": len(entries) > limit}


def blob(place: Place, sha: str) -> Json:
    """A blob, base64 in lines as GitHub sends it."""
    content = place.repository.git("cat-file", "blob", sha)
    return {"sha": sha, "node_id": f"B_{sha[:7]}", "size": len(content), "url": f"{place.url}/git/blobs/{sha}",
            "content": base64.encodebytes(content).decode(), "encoding": "base64"}


def branch(place: Place, name: str, sha: str, *, protected: bool) -> Json:
    """A branch with its last commit."""
    url = f"{place.url}/branches/{name}"
    return {"name": name, "commit": commit(place, sha), "_links": {"html": f"{place.html}/tree/{name}", "self": url},
            "protected": protected, "protection": {"enabled": protected}, "protection_url": f"{url}/protection"}


def comparison(place: Place, base: str, head: str) -> Json:
    """Three dots: from the merge base; at most 300 files."""
    git = place.repository
    merge_base = git.text("merge-base", base, head)
    ahead = git.text("rev-list", "--reverse", f"{base}..{head}").split()
    behind = git.text("rev-list", f"{head}..{base}").split()
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}.get(
        (bool(ahead), bool(behind)), "diverged")
    url = f"{place.url}/compare/{base}...{head}"
    return {"url": url, "html_url": url, "permalink_url": url, "diff_url": f"{url}.diff", "patch_url": f"{url}.patch",
            "base_commit": commit(place, base), "merge_base_commit": commit(place, merge_base), "status": status,
            "ahead_by": len(ahead), "behind_by": len(behind), "total_commits": len(ahead),
            "commits": [commit(place, sha) for sha in ahead[:250]], "files": _files(place, merge_base, head)[:300]}


def content(place: Place, path: str, sha: str, ref: str) -> Json:
    """A file as the contents API shows it."""
    found = blob(place, sha)
    url = f"{place.url}/contents/{path}?ref={ref}"
    html = f"{place.html}/blob/{ref}/{path}"
    return {"type": "file", "name": path.rsplit("/", 1)[-1], "path": path, "sha": sha, "size": found["size"], "url": url,
            "git_url": found["url"], "html_url": html, "download_url": html, "content": found["content"],
            "encoding": "base64", "_links": {"self": url, "git": found["url"], "html": html}}


def pull_request(place: Place, pull: Json, *, whole: bool) -> Json:
    """A pull request; ``whole`` with what only the single one shows."""
    owner = place.full_name.partition("/")[0]
    number = pull["number"]
    url, issue, html = f"{place.url}/pulls/{number}", f"{place.url}/issues/{number}", f"{place.html}/pull/{number}"
    head, base = (place.repository.head(pull[side]) or "0" * 40 for side in ("head", "base"))
    links = {"self": url, "html": html, "issue": issue, "comments": f"{issue}/comments", "commits": f"{url}/commits",
             "review_comments": f"{url}/comments", "review_comment": f"{url}/comments{{/number}}",
             "statuses": f"{place.url}/statuses/{head}"}

    def side(name: str, sha: str) -> Json:
        return {"label": f"{owner}:{name}", "ref": name, "sha": sha, "user": user(owner, place.api),
                "repo": repository(place)}

    answer = {"id": number, "node_id": f"PR_{number}", "number": number, "state": pull["state"], "locked": False,
              "title": pull["title"], "body": pull["body"], "user": user(owner, place.api), "labels": [],
              "assignee": None, "milestone": None, "auto_merge": None, "author_association": "OWNER", "draft": False,
              "created_at": _MOMENT, "updated_at": _MOMENT, "closed_at": None, "merged_at": None,
              "merge_commit_sha": None, "url": url, "html_url": html, "diff_url": f"{html}.diff",
              "patch_url": f"{html}.patch", "issue_url": issue, "head": side(pull["head"], head),
              "base": side(pull["base"], base), "_links": {name: {"href": link} for name, link in links.items()}}
    answer |= {f"{name}_url": links[name] for name in ("comments", "commits", "review_comments", "review_comment",
                                                       "statuses")}
    if whole:
        files = _files(place, place.repository.text("merge-base", base, head), head)
        answer |= {"additions": sum(file["additions"] for file in files), "changed_files": len(files), "comments": 0,
                   "commits": int(place.repository.text("rev-list", "--count", f"{base}..{head}")), "mergeable": True,
                   "deletions": sum(file["deletions"] for file in files), "mergeable_state": "clean", "merged": pull.get("merged", False),
                   "maintainer_can_modify": False, "merged_by": None, "review_comments": 0, "rebaseable": True}
    return answer


def hook(place: Place, number: int, config: Json, events: list[str], active: bool) -> Json:
    """A repository webhook; the secret is never shown."""
    url = f"{place.url}/hooks/{number}"
    shown = {key: "********" if key == "secret" else value for key, value in config.items()}
    return {"type": "Repository", "id": number, "name": "web", "active": active, "events": events, "config": shown,
            "created_at": _MOMENT, "updated_at": _MOMENT, "url": url, "test_url": f"{url}/test",
            "ping_url": f"{url}/pings", "deliveries_url": f"{url}/deliveries",
            "last_response": {"code": None, "status": "unused", "message": None}}


def rate_limit(limit: int, used: int, reset: int) -> Json:
    """The rate limits."""
    one = {"limit": limit, "used": used, "remaining": max(0, limit - used), "reset": reset}
    return {"rate": one, "resources": {"core": one, "search": one}}


def error(message: str, *details: str) -> Json:
    """An error, with GitHub's list of what is wrong."""
    answer: Json = {"message": message, "documentation_url": "https://docs.github.com/rest"}
    if details:
        answer["errors"] = [{"resource": "PullRequest", "code": "custom", "message": detail} for detail in details]
    return answer


def _commit_fields(git: BareRepository, sha: str) -> Json:
    pattern = "%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B"
    fields = git.text("log", "-1", "--no-mailmap", f"--format={pattern}", sha).split("\0")

    def person(name: str, email: str, seconds: str) -> Json:
        return {"name": name, "email": email, "date": datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}

    return {"tree": fields[0], "parents": fields[1].split(), "author": person(*fields[2:5]),
            "committer": person(*fields[5:8]), "message": fields[8].rstrip("\n")}


def _files(place: Place, base: str, head: str) -> list[Json]:
    words = {"A": "added", "D": "removed", "M": "modified", "T": "changed"}
    raw = place.repository.git("diff-tree", "-r", "-z", "--no-renames", base, head).split(b"\0")
    found = []
    for head_part, path in zip(raw[::2], raw[1::2], strict=False):
        *_, new, letter = head_part.decode().split()
        name = path.decode()
        url = f"{place.html}/blob/{head}/{name}"
        found.append({"sha": new if letter != "D" else None, "filename": name, "status": words[letter], "additions": 1,
                      "deletions": 1, "changes": 2, "blob_url": url, "raw_url": url,
                      "contents_url": f"{place.url}/contents/{name}?ref={head}"})
    return found
