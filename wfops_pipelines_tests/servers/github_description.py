"""GitHub's published OpenAPI description, and whether an exchange with the test server fits it.

The description (npm ``@octokit/openapi``, 13 MB of its 385) is kept outside the repository, keyed by its version:
``$WFOPS_TEST_CACHE`` or the user's cache directory, ``octokit-openapi-VERSION/api.github.com.json``.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platformdirs
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from wfops_pipelines_tests.servers.github import Exchange

VERSION = "23.0.2"
_MEMBER = "package/generated/api.github.com.json"
_SLASHES = {"path", "ref", "basehead", "branch", "commit_sha", "tree_sha"}  # parameters that may hold a '/'
_UNDOCUMENTED = {304, 401}  # GitHub answers these everywhere and says so apart


def place() -> Path:
    """Where the description is kept."""
    root = Path(os.environ.get("WFOPS_TEST_CACHE") or platformdirs.user_cache_dir("wfops-tests", appauthor=False))
    return root / f"octokit-openapi-{VERSION}" / "api.github.com.json"


def download() -> None:
    """Fetch the package with npm and keep the one file of it that is needed."""
    target = place()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        subprocess.run(["npm", "pack", f"@octokit/openapi@{VERSION}", "--silent"], cwd=directory, check=True,
                       stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(directory).glob("*.tgz"))) as package:
            member = package.extractfile(_MEMBER)
            assert member is not None
            (Path(directory) / "found.json").write_bytes(member.read())
        (Path(directory) / "found.json").replace(target)


class Description:
    """GitHub's description, ready to check exchanges against."""

    def __init__(self, path: Path) -> None:
        self._document = _readable(json.loads(path.read_text()))
        self._registry: Any = Registry().with_resource("github", DRAFT202012.create_resource(self._document))
        templates = sorted(self._document["paths"], key=lambda template: -len(re.sub(r"\{.*?\}", "", template)))
        self._templates = [(re.compile(_pattern(template)), template) for template in templates]

    def operation(self, exchange: Exchange) -> str | None:
        """``METHOD /path/{template}`` of an exchange, if GitHub has such a call."""
        for pattern, template in self._templates:
            if pattern.fullmatch(exchange.path) and exchange.method.lower() in self._document["paths"][template]:
                return f"{exchange.method} {template}"
        return None

    def problems(self, exchange: Exchange) -> Iterator[str]:
        """What GitHub's description says against an exchange."""
        operation = self.operation(exchange)
        if operation is None:
            yield f"{exchange.method} {exchange.path}: GitHub has no such call"
            return
        template = operation.partition(" ")[2]
        where = f"{operation} {exchange.status}"
        pointer = f"paths/{_escape(template)}/{exchange.method.lower()}"
        described = self._document["paths"][template][exchange.method.lower()]
        if exchange.sent is not None and exchange.status < 400:
            yield from self._check(exchange.sent, f"{pointer}/requestBody/content/application~1json/schema",
                                   f"{where} request")
        if exchange.status in _UNDOCUMENTED:
            return
        response = described["responses"].get(str(exchange.status))
        if response is None:
            yield f"{where}: not among {sorted(described['responses'])}"
            return
        if "$ref" in response:
            pointer = response["$ref"].removeprefix("#/")
            response = functools.reduce(lambda part, key: part[key], pointer.split("/"), self._document)
        else:
            pointer += f"/responses/{exchange.status}"
        if "content" in response:
            media = "application/json" if "application/json" in response["content"] else next(iter(response["content"]))
            yield from self._check(exchange.answer, f"{pointer}/content/{_escape(media)}/schema", f"{where} answer")
        elif exchange.answer is not None:
            yield f"{where}: an answer where none is described"

    def _check(self, value: Any, pointer: str, where: str) -> Iterator[str]:
        schema = {"$ref": f"github#/{quote(pointer, safe='/~')}"}
        validator = Draft202012Validator(schema, registry=self._registry)
        for error in validator.iter_errors(value):
            yield f"{where}: {error.json_path}: {error.message[:300]}"


def _readable(node: Any) -> Any:
    """OpenAPI 3.0's ``nullable`` in JSON Schema's words; and ``oneOf`` as ``anyOf``, because alternatives overlap there."""
    if isinstance(node, list):
        return [_readable(part) for part in node]
    if not isinstance(node, dict):
        return node
    plain = {"anyOf" if key == "oneOf" and isinstance(value, list) else key: _readable(value)
             for key, value in node.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") is True else plain


def _pattern(template: str) -> str:
    parts = re.split(r"\{(.*?)\}", template)
    return "".join(re.escape(part) if number % 2 == 0 else ".+" if part in _SLASHES else "[^/]+"
                   for number, part in enumerate(parts))


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
