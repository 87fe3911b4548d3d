"""URLs of repositories: what is let through, and what is shown of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.git.address import Transport, parse_address
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import GitHubApp, RepositorySource


@pytest.mark.parametrize(("url", "transport", "shown"), [
    ("file:///srv/git/acme.git", Transport.FILE, "file:///srv/git/acme.git"),
    ("file://localhost/srv/git/acme.git", Transport.FILE, "file:///srv/git/acme.git"),
    ("/srv/with space/acme.git", Transport.FILE, "file:///srv/with%20space/acme.git"),
    ("https://git.example.com/acme.git", Transport.HTTP, "https://git.example.com/acme.git"),
    ("https://ada@git.example.com:8443/acme.git/", Transport.HTTP, "https://git.example.com:8443/acme.git"),
    ("http://[::1]:80/acme", Transport.HTTP, "http://[::1]:80/acme"),
    ("ssh://git@git.example.com:2222/acme.git", Transport.SSH, "ssh://git@git.example.com:2222/acme.git"),
    ("git@git.example.com:team/acme.git", Transport.SSH, "git@git.example.com:team/acme.git"),
])
def test_what_git_remotes_are_called(url: str, transport: Transport, shown: str) -> None:
    address = parse_address(url)
    assert (address.transport, address.url) == (transport, shown)


@pytest.mark.parametrize("url", [
    "", "acme", "relative/path.git", "./acme.git", "ext::sh -c true", "ext::sh", "fd::17", "git://example.com/acme.git",
    "ftp://example.com/acme.git", "file://elsewhere/acme.git", "https:///acme.git", "-oProxyCommand=x:y",
    "ssh://-oProxyCommand=x/acme", "git@-host:acme", "host:-acme", "https://host:port/acme", "https://host/a b",
    "https://host/a\nb", "transport::https://host/x", "http://[::1/acme",
])
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_address(url)


@pytest.mark.parametrize("url", ["https://ada:hunter2@example.com/acme.git", "ssh://git:hunter2@example.com/acme",
                                 "ext::https://ada:hunter2@example.com", "https://ada:hunter2@host:port/x",
                                 "https://ada:hunter2@example.com/a b?token=hunter2"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("url", "shown"), [
    ("acme/flows", "https://github.com/acme/flows.git"),
    ("https://github.com/acme/flows", "https://github.com/acme/flows.git"),
    ("https://github.com/acme/flows.git", "https://github.com/acme/flows.git"),
    ("git@github.com:acme/flows.git", "https://github.com/acme/flows.git"),
    ("ssh://git@github.com/acme/flows.git", "https://github.com/acme/flows.git"),
    ("https://ghe.example.com/acme/flows", "https://ghe.example.com/acme/flows.git"),
])
def test_what_github_repositories_are_called(url: str, shown: str, tmp_path: Path) -> None:
    repository = open_repository(RepositorySource(url, provider="github", secret="hunter2"), cache=tmp_path)
    assert repository.display_url == shown
    assert "hunter2" not in repr(repository)


def test_a_url_that_names_no_github_repository_is_refused(tmp_path: Path) -> None:
    for url in ("https://github.com/acme", "https://github.com/a/b/c", "flows"):
        with pytest.raises(UsageError):
            open_repository(RepositorySource(url, provider="github"), cache=tmp_path)


def test_an_unknown_provider_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="svn"):
        open_repository(RepositorySource("https://example.com/x", provider="svn"), cache=tmp_path)


def test_a_source_does_not_show_its_secrets() -> None:
    app = GitHubApp(1, 2, "-----BEGIN hunter2")
    assert "hunter2" not in repr(RepositorySource("https://example.com/x", secret="hunter2", github_app=app))
