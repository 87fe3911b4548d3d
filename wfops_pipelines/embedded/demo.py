"""``wfops demo``: a whole system to look at, in a home of its own.

Two tenants with three n8n and a Git repository each; a baseline in Git; then people edit production by hand, and the
drift shows on the screen and in the Dagster UI. What it says on the screen it has checked; what is not as it should be
ends it with an error.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

from wfops_pipelines.bootstrap import Installation
from wfops_pipelines.defs import launch
from wfops_pipelines.defs.partitions import sync_partitions
from wfops_pipelines.domain.errors import Broken, OperationRunning, UsageError, WfopsError
from wfops_pipelines.domain.fleet import SecretReference, load_fleet
from wfops_pipelines.domain.run_tags import TENANT_TAG
from wfops_pipelines.embedded import demo_fleet as fleet
from wfops_pipelines.embedded.dagster_web import DagsterWeb, asset_page
from wfops_pipelines.embedded.demo_screen import Screen
from wfops_pipelines.embedded.processes import Event, Supervisor
from wfops_pipelines.embedded.system import System, choose_ports, kept_installation, only_system
from wfops_pipelines.postgres.embedded import EmbeddedPostgres
from wfops_pipelines.services.apply_fleet import apply_fleet
from wfops_pipelines.services.matrix import MatrixRow, workflow_matrix
from wfops_pipelines.settings import Settings

ACTOR = "demo"
MARKER = "this-is-the-demo"  # in a home that may be deleted
DRIFT_SECONDS = 60           # between two checks by schedule: somebody is watching
_QUEUE_SECONDS = 120.0
_QUEUE_POLL = 0.2  # seconds between two looks at the run, as the UI does it

Report = dict[str, Any]


def run_demo(settings: Settings, *, once: bool, n8n: Literal["sandbox", "real"] = "sandbox", port: int | None = None) -> int:
    """Run the demo in ``<home>/demo``, afresh each time; then, unless ``once``, keep it running until a signal comes.

    From here on this process, and all it starts, is the demo's: the user's WFOPS_ and DAGSTER_ variables are taken out of
    its environment, so that nothing of it can reach the user's data. Returns 0; raises :class:`Broken` when something is
    not as the demo says, and what ``run_up`` raises.
    """
    home = settings.home if (settings.home / MARKER).exists() else settings.home / "demo"
    if port is None and "ui_port" in settings.model_fields_set:
        port = settings.ui_port
    own = _settings_of_the_demo(home)
    screen = Screen()
    started = time.monotonic()
    with only_system(home) as tell_url:
        _afresh(home)
        chosen, api = choose_ports(own, port)
        kind = "real n8n servers" if n8n == "real" else "sandbox n8n servers"
        screen.title(f"WorkflowOps demo: two tenants, six {kind}, a Git repository each", f"in {home}")
        with Supervisor(lambda event: _tell(screen, event)) as supervisor, ExitStack() as opened:
            with screen.step("PostgreSQL with its roles, and the store's tables"):
                installation = opened.enter_context(kept_installation(own, supervisor))
            demo = _Demo(installation, supervisor, screen, chosen, api)
            demo.set_up(n8n, settings.n8n_cache_path)
            demo.baseline()
            demo.people_edit()
            demo.show_ui()
            demo.put_right()
            demo.promote()
            tell_url(demo.system.url)
            demo.summary(time.monotonic() - started)
            if once:
                screen.note("--once: stopping")
            else:
                supervisor.about_to_wait()
                screen.heading("It keeps running: Ctrl-C stops everything.")
                supervisor.wait()
                screen.note("stopping")
    screen.note("stopped")
    return 0


class _Demo:
    """The acts, in order; each uses what the ones before made."""

    def __init__(self, installation: Installation, supervisor: Supervisor, screen: Screen, port: int,
                 api_port: int) -> None:
        self._installation, self._supervisor, self._screen = installation, supervisor, screen
        self._home = installation.settings.home
        self.system = System(installation, supervisor, port=port, api_port=api_port)
        self._servers: list[fleet.Server] = []
        self._edits: list[fleet.Edit] = []
        self._incidents: dict[str, int] = {}  # numbers by tenant

    def set_up(self, n8n: str, cache: Path) -> None:
        """Servers, repositories, fleet.yaml."""
        with self._screen.step(f"six n8n ({n8n}), each with its own key"):
            self._servers = (fleet.start_real_servers(self._supervisor, self._home, cache, self._screen.note)
                             if n8n == "real" else fleet.start_sandboxes(self._supervisor, self._home))
        self.system.start_code_server()  # loads while other things are done
        with self._screen.step("workflows, as a small web shop has them, put into every n8n"):
            created = fleet.seed(self._servers)
        self._screen.note(f"{created} workflows: {_counts(fleet.workflows_of)}")
        with self._screen.step("fleet.yaml applied", "wfops apply -f fleet.yaml"):
            changes = self._apply(fleet.write_fleet(self._home, self._servers, fleet.make_repositories(self._home)))
        self._screen.note(f"{changes} changes: tenants, environments, repositories, pipelines, keys (encrypted)")

    def _apply(self, path: Path) -> int:
        declared = load_fleet(path.read_text(), file=str(path))
        services = self._installation.services
        plan = apply_fleet(services, declared, _read_secret, actor=ACTOR)
        _expect(not apply_fleet(services, declared, _read_secret, actor=ACTOR, dry_run=True).changes,
                "fleet.yaml applied twice changes nothing the second time")
        with launch.dagster_instance(self._installation) as instance:
            sync_partitions(instance, services)
        return len(plan.changes)

    def baseline(self) -> None:
        """Every environment into Git, then everything read back."""
        with self._screen.step("every environment exported into its folder in Git", "wfops export acme prod"):
            for tenant in fleet.TENANTS:
                for environment in fleet.ENVIRONMENTS:
                    self._export(tenant, environment)
        self._screen.note(f"{len(fleet.TENANTS) * len(fleet.ENVIRONMENTS)} commits, one each")
        with self._screen.step("n8n and Git synchronised, compared", "wfops sync acme"):
            for key, report in _drift_reports(self._refresh()).items():
                _expect(report["status"] == "IN_SYNC", f"{'/'.join(key)} is in sync after its export")
        for tenant in fleet.TENANTS:
            rows = self._matrix(tenant)
            _expect(len(rows) == len(fleet.workflows_of(tenant))
                    and all(len(row.environments) == len(fleet.ENVIRONMENTS) for row in rows),
                    f"each workflow of {tenant} is recognised in each of its environments")
            self._screen.matrix(tenant, list(fleet.ENVIRONMENTS), rows)

    def people_edit(self) -> None:
        """Somebody edits production; the drift check finds just that."""
        self._screen.heading("Now people work")
        self._edits = fleet.edit_production(self._servers)
        changed = fleet.go_on_in_dev(self._servers)
        self._screen.lines([
            *((f"{edit.tenant}/{edit.environment}", f"{edit.workflow}: {edit.words}") for edit in self._edits),
            ("acme/dev", f"{changed}: a developer improves it, where that is right")])
        with self._screen.step("drift check of staging and production", "wfops drift acme prod"):
            self._refresh(dev=True, parts=["repository_workflows", "environment_workflows"])
            told = self._refresh(dev=False)
        reports = _drift_reports(told)
        wanted = {(edit.tenant, edit.environment, edit.workflow_id): edit.kind for edit in self._edits}
        found = {(*key, workflow["workflow_id"]): workflow["kind"] for key, report in reports.items()
                 for workflow in report["workflows"]}
        _expect(found == wanted, f"the drift check names exactly what was edited: {found} instead of {wanted}")
        for tenant in fleet.TENANTS:
            self._screen.drift(reports[tenant, "prod"])
            self._incidents[tenant] = reports[tenant, "prod"]["incident"]["number"]
        quiet = [f"{t}/{e}" for (t, e), report in reports.items() if report["status"] == "IN_SYNC"]
        _expect(len(quiet) == len(fleet.TENANTS), "nothing else drifted")
        stage = next(part["result"]["stages"]["dev"] for part in told if part["part"] == "workflow_diff"
                     and (part["tenant"], part["environment"]) == ("acme", "staging"))
        _expect(stage.get("modified") == 1 and stage.get("unchanged") == len(fleet.workflows_of("acme")) - 1,
                f"one workflow of acme/dev is ahead of staging: {stage}")
        self._screen.note(f"{' and '.join(sorted(quiet))}: IN_SYNC. {changed} is no drift: acme/dev is ahead of staging")

    def show_ui(self) -> None:
        """The rest of the system; and the UI shows what the screen did."""
        with self._screen.step("Dagster daemon and UI", "wfops up"):
            web = self.system.start()
        try:
            with self._screen.step("the UI shows the same drift, with its diff"):
                for tenant in fleet.TENANTS:
                    self._check_page(web, tenant)
            with self._screen.step("workflow_matrix of both tenants, as one run through the queue"):
                self._run_through_queue(web)
        finally:
            web.close()

    def put_right(self) -> None:
        """Each drift is an incident; the one of globex is followed to its end."""
        number, edit = self._incidents["globex"], next(e for e in self._edits if e.tenant == "globex")
        self._screen.heading("Each drift is an incident, until somebody has settled it")
        with self._screen.step(f"incident globex#{number} acknowledged", f"wfops incident ack globex#{number}"):
            done = self._run("incident_step", {"take_step": {"incident": f"globex#{number}", "step": "acknowledge",
                                                             "reason": "the quick fix is in the way"}}, "globex")
            _expect(done[0]["result"]["after"] == {"status": "acknowledged"}, "the incident is acknowledged")
        with self._screen.step("reverted: n8n is what Git says again",
                               f"wfops incident reconcile globex#{number} --resolution revert --prune"):
            done = self._run("reconcile_incident", {"reconcile": {
                "incident": f"globex#{number}", "resolution": "revert", "prune": True, "dry_run": False}}, "globex")
        result = done[0]["result"]
        _expect([(w["action"], w["state"], w["name"]) for w in result["writes"]] == [("archive", "done", edit.workflow)],
                f"the revert archives what somebody built in production: {result['writes']}")
        _expect((result["status"], result["drift_status"]) == ("closed", "IN_SYNC"), "the incident closed itself")
        self._screen.note(f"{edit.workflow} is archived in n8n, read back and found right; the incident closed itself")

    def promote(self) -> None:
        """What a developer did in dev goes to staging, planned, judged, written, read back, committed."""
        self._screen.heading("What is right goes on, to the next environment")
        with self._screen.step("dev of acme promoted to staging", "wfops promote acme --from dev --to staging"):
            result = self._promoted({"tenant": "acme", "source": "dev", "target": "staging", "dry_run": False,
                                     "reason": "returns are looked at the same day"})
        written = [(each["action"], each["name"]) for each in result["workflows"] if each["status"] == "success"]
        _expect(written == [("update", "Returns")], f"just what was changed in dev is written to staging: {written}")
        _expect((result["status"], result["drift_status"]) == ("completed", "IN_SYNC") and bool(result["commit"]),
                "n8n, read back, is what the plan said, and Git holds it")
        self._screen.note(f"{result['name']}: {written[0][1]} updated in n8n, read back, and one commit "
                          f"{result['commit'][:12]}; {len(result['workflows']) - 1} were the same")

    def _promoted(self, config: dict[str, Any]) -> Report:
        """The promotion; a drift check by schedule may hold an environment for a moment."""
        deadline = time.monotonic() + _QUEUE_SECONDS
        while True:
            try:
                done = self._run("promote", {"plan": config, "gates": {}, "execute": {}, "outcome": {}}, "acme")
            except OperationRunning:
                if time.monotonic() > deadline:
                    raise
                continue
            result: Report = done[-1]["result"]
            return result

    def summary(self, seconds: float) -> None:
        """What happened, where to look, what to try."""
        url, screen = self.system.url, self._screen
        screen.heading("What happened")
        screen.lines([
            ("baseline", f"{len(self._servers)} n8n, {len(fleet.TENANTS)} repositories; "
                         "every workflow is known as the same in all its environments"),
            ("drift", f"{len(self._edits)} edits past Git in production, all found, and nothing else"),
            ("incidents", f"acme#{self._incidents['acme']} waits for you, globex#{self._incidents['globex']} is settled"),
            ("promotion", "acme/p1 went from dev to staging"),
            ("time", f"{seconds:.0f} s")])
        screen.heading("Look")
        screen.lines([
            ("drift of acme/prod", asset_page(url, "drift_report", "prod|acme")),
            ("drift of globex/prod", asset_page(url, "drift_report", "prod|globex")),
            ("dev against staging", asset_page(url, "workflow_diff", "staging|acme")),
            ("all assets", f"{url}/asset-groups"),
            ("runs", f"{url}/runs"),
            ("API, for webhooks", self.system.api_url)])
        screen.heading("Try, in another terminal")
        wfops, incident = _command_of_this_installation(), f"acme#{self._incidents['acme']}"
        screen.lines([
            ("first", f"export WFOPS_HOME={self._home}"),
            ("drift now", f"{wfops} drift acme prod"),
            ("what is where", f"{wfops} matrix acme"),
            ("who did what", f"{wfops} audit list acme"),
            ("the incident", f"{wfops} incident show {incident}"),
            ("take care", f"{wfops} incident ack {incident}"),
            ("put it right", f"{wfops} incident reconcile {incident} --resolution revert"),
            ("", "or --resolution promote, and Git says what n8n holds"),
            ("the promotion", f"{wfops} promotion show acme/p1"),
            ("take it back", f"{wfops} rollback acme/p1 --reason 'to see how'"),
            ("go on to prod", f"{wfops} promote acme --from staging --to prod --dry-run")])

    def _export(self, tenant: str, environment: str) -> None:
        done = self._run("export", {"export_to_git": {"partition": f"{environment}|{tenant}", "dry_run": False}}, tenant)
        result = done[0]["result"]
        _expect(bool(result["commit"]) and len(result["files"]) == len(fleet.workflows_of(tenant)),
                f"the export of {tenant}/{environment} is one commit with every workflow")

    def _refresh(self, *, dev: bool | None = None, parts: list[str] | None = None) -> list[Report]:
        """Refresh environments (all, the dev ones, or the others) in one run; gives what came of each part of each."""
        chosen = [s for s in self._servers if dev is None or (s.environment == "dev") is dev]
        config: dict[str, Any] = {"partitions": [f"{server.environment}|{server.tenant}" for server in chosen]}
        told = self._run("refresh", {"refresh_environments": config | ({"parts": parts} if parts else {})})
        failed = next((part["error"] for part in told if part["error"] is not None), None)
        if failed is not None:
            raise failed
        return told

    def _run(self, job: str, ops: Mapping[str, Mapping[str, Any]], tenant: str | None = None) -> list[dict[str, Any]]:
        try:
            done = launch.run_job(self._installation, job, ops, actor=ACTOR,
                                  tags={TENANT_TAG: tenant} if tenant else None)
        except launch.Interrupted:  # what Dagster makes of Ctrl-C
            raise KeyboardInterrupt from None
        if not done.success:
            errors = [part["error"] for part in done.outputs if isinstance(part.get("error"), WfopsError)]
            why = done.failure or "no reason recorded"
            raise errors[0] if errors else Broken(f"run {done.run_id} ({job}) failed: {why}")
        return done.outputs

    def _matrix(self, tenant: str) -> list[MatrixRow]:
        services = self._installation.services
        return workflow_matrix(services, services.context(tenant, actor=ACTOR))

    def _check_page(self, web: DagsterWeb, tenant: str) -> None:
        edits = [edit for edit in self._edits if edit.tenant == tenant]
        shown = web.last_materialization("drift_report", f"prod|{tenant}")
        _expect(shown is not None and shown.metadata.get("status") == "DRIFT_INCIDENT_ACTIVE"
                and shown.metadata.get("drifted") == len(edits), f"the UI shows the drift of {tenant}/prod")
        for edit in edits:
            if edit.kind == "modified":
                _expect(shown is not None and edit.workflow in (shown.metadata.get("diff") or ""),
                        f"the UI shows the diff of {edit.workflow}")

    def _run_through_queue(self, web: DagsterWeb) -> None:
        first, *_, last = fleet.TENANTS
        run_id = web.materialize("workflow_matrix", first, last)
        deadline = time.monotonic() + _QUEUE_SECONDS
        while (status := web.run_status(run_id)) not in {"SUCCESS", "FAILURE", "CANCELED"} and time.monotonic() < deadline:
            time.sleep(_QUEUE_POLL)
        _expect(status == "SUCCESS", f"the run {run_id} through the queue succeeds (it is {status})")
        for tenant in fleet.TENANTS:
            shown = web.last_materialization("workflow_matrix", tenant)
            _expect(shown is not None and shown.metadata.get("workflows") == len(self._matrix(tenant)),
                    f"the UI shows every workflow of {tenant}")


def _settings_of_the_demo(home: Path) -> Settings:
    for name in [name for name in os.environ if name.startswith(("WFOPS_", "DAGSTER_"))]:
        del os.environ[name]
    os.environ |= {"WFOPS_HOME": str(home), "WFOPS_DRIFT_CHECK_INTERVAL_SECONDS": str(DRIFT_SECONDS)}
    return Settings()


def _afresh(home: Path) -> None:
    """Make the home empty but for the lock that we hold. One that is not a demo's stays as it is: :class:`UsageError`."""
    others = [path for path in home.iterdir() if path.name != "run"]
    if others and not (home / MARKER).exists():
        raise UsageError(f"{home} holds something, and no demo", fix="move it away, or set WFOPS_HOME to another directory")
    (home / MARKER).touch()
    EmbeddedPostgres(home).destroy()
    for path in others:
        if path.name != MARKER:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _drift_reports(told: list[Report]) -> dict[tuple[str, str], Report]:
    return {(part["tenant"], part["environment"]): part["result"] for part in told if part["part"] == "drift_report"}


def _read_secret(reference: SecretReference) -> str:
    return Path(reference.name).read_text().strip()


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(f"the demo is not as it says: {what}", fix="its home and logs are still there to look at")


def _counts(workflows_of: Any) -> str:
    return ", ".join(f"{len(workflows_of(tenant))} in each environment of {tenant}" for tenant in fleet.TENANTS)


def _command_of_this_installation() -> str:
    """``wfops``, or its path where it is not found by name (a virtual environment that is not activated)."""
    beside = Path(sys.executable).parent / "wfops"
    found = shutil.which("wfops")
    with suppress(OSError):
        if found is None and beside.exists():
            return str(beside)
    return "wfops"


def _tell(screen: Screen, event: Event) -> None:
    if event.kind == "ended":
        screen.note(f"{event.name} ended with code {event.code}")
