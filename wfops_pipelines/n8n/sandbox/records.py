"""The sandbox's rows. What is large (nodes, connections, pinned data) is kept as the JSON bytes that answers are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from wfops_pipelines.n8n.sandbox.javascript import dump, parse

JsonObject = dict[str, Any]


def stamp(moment: datetime, *, whole_seconds: bool = False) -> str:
    """ISO-8601 in UTC with milliseconds, as n8n shows times; some of its writes drop the fraction."""
    text = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.")
    return f"{text}{0 if whole_seconds else moment.microsecond // 1000:03d}Z"


@dataclass(slots=True)
class Version:
    """One entry of a workflow's history: nodes and connections, neither name nor settings of the workflow."""

    id: str
    nodes: bytes
    connections: bytes
    created_at: str
    updated_at: str
    groups: bytes = b"[]"
    name: str | None = None
    description: str | None = None
    published: list[JsonObject] = field(default_factory=list)  # publish history

    @property
    def node_list(self) -> list[JsonObject]:
        """The nodes, parsed anew."""
        nodes: list[JsonObject] = parse(self.nodes)
        return nodes


@dataclass(slots=True)
class Workflow:
    """A workflow; ``version_id`` is the draft, ``active_id`` the published version or none."""

    id: str
    name: str
    version_id: str
    created_at: str
    updated_at: str
    versions: dict[str, Version]  # oldest first
    shared_at: str = ""
    settings: JsonObject = field(default_factory=dict)
    static_data: bytes = b"null"
    pin_data: bytes = b"null"
    meta: bytes = b"null"
    description: str | None = None
    active_id: str | None = None
    archived: bool = False
    counter: int = 1
    trigger_count: int = 0
    tag_ids: list[str] = field(default_factory=list)
    unversioned: Version | None = None  # 1.x: a draft that was saved under the version before it, which stays as it was
    row: tuple[bytes, ...] | None = None  # the prepared pieces of its row in listings
    row_plain: tuple[bytes, ...] | None = None  # the same without pinned data

    @property
    def draft(self) -> Version:
        """What the editor shows."""
        return self.unversioned or self.versions[self.version_id]

    @property
    def live(self) -> Version | None:
        """What runs."""
        return None if self.active_id is None else self.versions[self.active_id]

    def touched(self) -> None:
        """Forget the prepared rows."""
        self.row = self.row_plain = None


@dataclass(slots=True)
class Tag:
    id: str
    name: str
    created_at: str
    updated_at: str

    def json(self) -> JsonObject:
        return {"id": self.id, "name": self.name, "createdAt": self.created_at, "updatedAt": self.updated_at}


@dataclass(slots=True)
class Credential:
    """A credential. Its data is checked and then forgotten: nothing here ever uses it."""

    id: str
    name: str
    type: str
    created_at: str
    updated_at: str


@dataclass(slots=True)
class Execution:
    """One run of a workflow; ``data`` only comes along when asked for."""

    id: int
    workflow_id: str
    status: str
    mode: str
    started_at: str
    stopped_at: str | None
    data: JsonObject | None = None
    retry_of: str | None = None
    version_id: str | None = None


def raw(value: Any) -> bytes:
    """Bytes to be kept for a value that comes as JSON, without the room to grow that a fresh dump has around it."""
    return bytes(memoryview(dump(value)))
