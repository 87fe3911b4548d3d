"""What WorkflowOps asks of a workflow engine (§3), and the registry of engines.

n8n 1.x and 2.x are one provider that finds out which it talks to. Everything that goes in and comes out here is
plain JSON in n8n's own shapes; turning it into our types is the domain's work (``domain.workflow``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

from wfops_pipelines.domain.errors import UsageError

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach one environment's engine. The key never shows in ``repr``."""

    base_url: str
    api_key: str = field(repr=False)
    provider: str = "n8n"
    verify_tls: bool | str = True  # a path names a CA bundle
    connect_timeout: float = 10.0  # seconds
    read_timeout: float = 60.0  # seconds between two bytes
    answer_timeout: float = 600.0  # seconds for a whole answer: a byte now and then keeps any time between two
    max_concurrency: int = 4  # requests in flight; n8n gains nothing above 4
    attempts: int = 4  # for calls that are safe to repeat


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What answers: ``generation`` 1 or 2 (``/discover`` tells), and what that means for a client."""

    generation: int

    @property
    def has_drafts(self) -> bool:
        """2.x keeps a draft beside the published version."""
        return self.generation >= 2

    @property
    def lists_credentials(self) -> bool:
        """1.x offers no listing of credentials."""
        return self.generation >= 2


@dataclass(frozen=True, slots=True)
class KnownPage:
    """What is remembered of a page: the digest of its bytes as they came, and the cursor of the next page, none on the
    last."""

    digest: str
    cursor: str | None


@dataclass(frozen=True, slots=True)
class WorkflowPage:
    """One page of a listing: the workflows as n8n sent them, the bytes received for them, and by what the page is known
    again."""

    workflows: Sequence[JsonObject]
    received_bytes: int
    last: bool
    known_as: KnownPage


@dataclass(frozen=True, slots=True)
class Health:
    """Answer of a health probe. ``latency`` in seconds; ``problem`` is an error kind or none."""

    reachable: bool
    key_valid: bool | None
    generation: int | None
    latency: float | None
    problem: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A call of a webhook or a form: ``path`` with its prefix, as n8n registers it (``/webhook/orders``)."""

    method: str
    path: str
    content: bytes | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What a webhook answered: ``text`` is the beginning of it, in one line."""

    status: int
    text: str


class WorkflowProvider(Protocol):
    """One environment's engine. Methods raise the ``OutsideError`` tree; a partial read raises and returns nothing."""

    @property
    def base_url(self) -> str: ...

    async def server(self) -> ServerInfo:
        """Which generation answers; asked once, then remembered."""
        ...

    def list_workflows(self, *, page_size: int = 250) -> AsyncIterator[WorkflowPage]:
        """Every workflow, archived ones too, page by page; the next page is fetched while one is handled.

        Pages are offset pages and shift while people work: a workflow can show twice or be missed (facts §4);
        the caller handles both. Ends with a page whose ``last`` is true, or raises.
        """
        ...

    async def still_lists(self, pages: Sequence[KnownPage], *, page_size: int = 250) -> bool:
        """Whether the listing is byte for byte the whole one that ``pages`` are known of, asked with the same page size.

        Costs its transfer, and none of its contents is looked at. False says nothing of what changed.
        """
        ...

    async def answers(self) -> None:
        """Whether the engine answers and the key may list workflows: one small request; raises what :meth:`list_workflows`
        would."""
        ...

    async def get_workflow(self, workflow_id: str) -> JsonObject:
        """One workflow; :class:`NotFound` when it is gone."""
        ...

    async def workflow_history(self, workflow_id: str, *, limit: int = 100) -> Sequence[JsonObject]:
        """The newest versions of a workflow, newest first, without their contents: ``versionId``, ``authors`` (display
        names; of the owner of a key for what came through the API), ``createdAt``.

        What makes a version is a changed content: a new name, another activation leave none. :class:`NotFound` when the
        workflow is gone; :class:`Rejected` on 1.x, whose API shows no history.
        """
        ...

    async def create_workflow(self, body: Mapping[str, Any]) -> JsonObject:
        """Create from ``body`` (any workflow JSON: the provider sends only the keys this server takes)."""
        ...

    async def update_workflow(self, workflow_id: str, body: Mapping[str, Any], *, publish: bool = True) -> JsonObject:
        """Replace name, nodes, connections; settings are merged by n8n.

        ``publish=False`` keeps the live version of an active workflow (2.x); 1.x has no drafts, there it goes live at
        once either way. After :class:`Rejected` the draft may have been saved all the same (2.x): read again.
        """
        ...

    async def activate_workflow(self, workflow_id: str, *, version_id: str | None = None) -> JsonObject:
        """Publish and activate; ``version_id`` chooses the version (2.x; :class:`Rejected` on 1.x).

        2.x registers webhooks only afterwards: ``active`` is true before they answer.
        """
        ...

    async def deactivate_workflow(self, workflow_id: str) -> JsonObject: ...

    async def archive_workflow(self, workflow_id: str) -> JsonObject:
        """Archive, which also deactivates; :class:`Rejected` on 1.x, whose API cannot."""
        ...

    async def unarchive_workflow(self, workflow_id: str) -> JsonObject: ...

    async def delete_workflow(self, workflow_id: str) -> None:
        """Delete, active or not; :class:`NotFound` when it was gone before."""
        ...

    async def list_tags(self) -> Sequence[JsonObject]: ...

    async def create_tag(self, name: str) -> JsonObject: ...

    async def set_workflow_tags(self, workflow_id: str, tag_ids: Sequence[str]) -> Sequence[JsonObject]:
        """Replace the tags of a workflow; :class:`NotFound` for an unknown tag id."""
        ...

    async def list_credentials(self) -> Sequence[JsonObject]:
        """Names, types and ids, never data; :class:`Rejected` on 1.x, which has no such listing."""
        ...

    async def create_credential(self, body: Mapping[str, Any]) -> JsonObject: ...

    async def test_credential(self, credential_id: str) -> JsonObject:
        """What the service behind a credential says of it, by n8n (2.x; :class:`Rejected` on 1.x): ``status`` (``OK`` or
        ``Error``) and ``message``. A type that n8n cannot test is an ``Error`` too, and the message says so."""
        ...

    async def credential_schema(self, credential_type: str) -> JsonObject: ...

    async def list_executions(self, *, cursor: str | None = None, limit: int = 100, include_data: bool = False,
                              workflow_id: str | None = None, status: str | None = None,
                              ) -> tuple[Sequence[JsonObject], str | None]:
        """One page of executions, newest first, and the cursor of the next: of all workflows or of one, in all states
        that have come to an end or in one. What is running is only listed when asked for, and on 1.x what waits, too."""
        ...

    async def get_execution(self, execution_id: str, *, include_data: bool = False) -> JsonObject:
        """One execution; with its data, ``data.resultData`` holds the error of a failed one."""
        ...

    async def webhook_methods(self, path: str) -> frozenset[str] | None:
        """The HTTP methods that n8n answers on a path (``/webhook/orders``) at this moment; none are registered for an
        empty set. Starts nothing, and goes without the key.

        ``None`` when the answer is not n8n's: something stands before it that answers for it, or webhooks are served
        elsewhere.
        """
        ...

    async def call_webhook(self, call: WebhookCall, *, patience: float) -> WebhookAnswer | None:
        """Start a workflow by its webhook, once, without the key; none when no answer comes within ``patience`` seconds,
        and the workflow may be running all the same. :class:`Unreachable` when n8n was not reached."""
        ...

    async def health(self) -> Health:
        """Probe without raising: reachable, key valid, generation, latency."""
        ...

    async def aclose(self) -> None:
        """Give back the connections."""
        ...


ProviderFactory = Callable[[Connection], WorkflowProvider]
_factories: dict[str, ProviderFactory] = {}


def _load_engines() -> None:
    """Ours register themselves when first asked for: importing this module stays cheap (no HTTP client)."""
    import_module("wfops_pipelines.n8n.engines")


def register(name: str, factory: ProviderFactory) -> None:
    """Make an engine known under the name that ``provider:`` in fleet.yaml uses."""
    _factories[name] = factory


def providers() -> list[str]:
    """The names of the engines that are known."""
    _load_engines()
    return sorted(_factories)


def open_provider(connection: Connection) -> WorkflowProvider:
    """The provider for a connection; :class:`UsageError` names the known ones when there is none."""
    _load_engines()
    factory = _factories.get(connection.provider)
    if factory is None:
        raise UsageError(f"unknown provider {connection.provider!r}", fix=f"known: {', '.join(providers())}")
    return factory(connection)
