"""How services get a repository: the implementation that fits its provider."""

from __future__ import annotations

from pathlib import Path

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.git.address import parse_address
from wfops_pipelines.git.plain import PlainRepository
from wfops_pipelines.git.repository import Repository, RepositorySource


def open_repository(source: RepositorySource, *, cache: Path) -> Repository:
    """The repository of a source, its clone under ``cache`` (the tenant's own directory, made when needed).

    Asks nobody yet. :class:`UsageError` for an unknown provider or a URL that is none."""
    if source.provider == "git":
        secret = source.secret
        return PlainRepository(parse_address(source.url), secret=lambda: secret, cache=cache)
    if source.provider == "github":
        from wfops_pipelines.git.github import open_github  # noqa: PLC0415 - PyGithub costs start-up time; few need it

        return open_github(source, cache=cache)
    raise UsageError(f"{source.provider!r} is no provider of repositories", fix="use provider: git or provider: github")
