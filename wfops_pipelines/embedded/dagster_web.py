"""What the supervisor and the demo ask of the Dagster UI, over its GraphQL: is it ready, and does it show what we say.

The addresses of its pages are made here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from wfops_pipelines.domain.errors import ProcessFailed

_LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries { name loadStatus
    locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
_DAEMONS = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
_MATERIALIZATION = """query($key: AssetKeyInput!, $partitions: [String!]) { assetOrError(assetKey: $key) { __typename
    ... on Asset { assetMaterializations(partitions: $partitions, limit: 1) { runId timestamp metadataEntries {
        label __typename ... on TextMetadataEntry { text } ... on MarkdownMetadataEntry { mdStr }
        ... on IntMetadataEntry { intValue } ... on UrlMetadataEntry { url } } } } } }"""
_LAUNCH = """mutation($parameters: ExecutionParams!) { launchRun(executionParams: $parameters) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } ... on RunConfigValidationInvalid {
        errors { message } } } }"""
_STATUS = "query($run: ID!) { runOrError(runId: $run) { __typename ... on Run { status } } }"
_VALUES = ("text", "mdStr", "intValue", "url")


@dataclass(frozen=True, slots=True)
class Materialization:
    """The last one of a partition: its run, and the metadata that is text, Markdown, a whole number or a link."""

    run_id: str
    metadata: dict[str, Any]


class DagsterWeb:
    """A running Dagster webserver on this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=30.0, trust_env=False)

    def close(self) -> None:
        """Give back the connections."""
        self._http.close()

    def answers(self) -> bool:
        """Whether it serves at all."""
        try:
            return self._http.get("/server_info", timeout=5.0).status_code == 200
        except httpx.HTTPError:
            return False

    def location_loaded(self) -> bool:
        """Whether it has our definitions; :class:`ProcessFailed` says why it cannot."""
        entries = self.ask(_LOCATIONS)["workspaceOrError"].get("locationEntries") or []
        for entry in entries:
            found = entry["locationOrLoadError"] or {}
            if found.get("__typename") == "PythonError":
                raise ProcessFailed(f"the definitions cannot be loaded: {found['message'].strip()}")
        return any(entry["loadStatus"] == "LOADED" for entry in entries)

    def daemon_healthy(self) -> bool:
        """Whether every part of the daemon has been heard of lately."""
        health = self.ask(_DAEMONS)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return bool(health) and all(part["healthy"] for part in health if part["required"])

    def last_materialization(self, asset: str, partition: str) -> Materialization | None:
        """The last materialisation of a partition, as the UI shows it."""
        found = self.ask(_MATERIALIZATION, key={"path": [asset]}, partitions=[partition])["assetOrError"]
        events = found.get("assetMaterializations") or []
        if not events:
            return None
        entries = events[0]["metadataEntries"]
        return Materialization(events[0]["runId"], {
            entry["label"]: next((entry[key] for key in _VALUES if entry.get(key) is not None), None) for entry in entries})

    def materialize(self, asset: str, first: str, last: str) -> str:
        """Ask for a range of partitions in one run, as the UI does; it goes through the queue. Returns the run's id."""
        answer = self.ask(_LAUNCH, parameters={
            "selector": {"repositoryLocationName": "wfops", "repositoryName": "__repository__", "jobName": "__ASSET_JOB",
                         "assetSelection": [{"path": [asset]}]},
            "executionMetadata": {"tags": [{"key": "dagster/asset_partition_range_start", "value": first},
                                           {"key": "dagster/asset_partition_range_end", "value": last}]}})["launchRun"]
        if "run" not in answer:
            raise ProcessFailed(f"the Dagster UI did not take a run of {asset}: {answer}")
        return str(answer["run"]["runId"])

    def run_status(self, run_id: str) -> str:
        """``QUEUED``, ``STARTED``, ``SUCCESS``, ``FAILURE``, …; ``UNKNOWN`` for a run that is not there."""
        return str(self.ask(_STATUS, run=run_id)["runOrError"].get("status", "UNKNOWN"))

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """One GraphQL query; :class:`ProcessFailed` with what went wrong."""
        try:
            answer = self._http.post("/graphql", json={"query": query, "variables": variables}).json()
        except (httpx.HTTPError, ValueError) as error:
            raise ProcessFailed(f"the Dagster UI does not answer at {self.url}: {error}") from None
        if answer.get("errors"):
            raise ProcessFailed(f"the Dagster UI refused a question: {answer['errors'][0].get('message')}")
        data: dict[str, Any] = answer["data"]
        return data


def asset_page(url: str, asset: str, partition: str | None = None) -> str:
    """The address of an asset's page; with a partition, of that partition."""
    where = f"?view=partitions&partition={quote(partition, safe='')}" if partition else ""
    return f"{url}/assets/{asset}{where}"
