"""Files in DAGSTER_HOME: none for runs, logs of ticks that said something, and what is old is removed."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.instigation_logger import InstigationLogger, get_instigation_log_records

from wfops_pipelines.defs.maintenance.old_files import remove_old_files
from wfops_pipelines.defs.maintenance.sensors import old_files
from wfops_pipelines.defs.resources import Wfops
from wfops_pipelines.defs.tick_logs import TickLogs
from wfops_pipelines.settings import Settings
from wfops_pipelines_tests.servers.processes import REPOSITORY

DAY = 86_400
TICK = ["__repository__", "repository_poll", "17"]


@dg.op
def talk(context: dg.OpExecutionContext) -> None:
    context.log.info("logged")
    os.write(1, b"printed\n")


@dg.job(executor_def=dg.in_process_executor)
def talking() -> None:
    talk()


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    """A real instance whose dagster.yaml holds the part of ours that is about files."""
    ours = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    home = tmp_path_factory.mktemp("dagster")
    (home / "dagster.yaml").write_text(yaml.safe_dump({key: ours[key] for key in ("compute_logs", "telemetry")}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance


@pytest.fixture
def home(instance: dg.DagsterInstance) -> Path:
    """DAGSTER_HOME, without files of runs and ticks."""
    storage = Path(instance.storage_directory())
    shutil.rmtree(storage, ignore_errors=True)
    return storage.parent


def left(home: Path) -> list[str]:
    """Files under ``storage``."""
    storage = home / "storage"
    return sorted(str(path.relative_to(storage)) for path in storage.rglob("*") if path.is_file())


def a_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.SUCCESS) -> str:
    return instance.create_run_for_job(talking, status=status).run_id


def put(home: Path, name: str, *, days_old: float) -> str:
    path = home / "storage" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("text")
    then = time.time() - days_old * DAY
    for place in (path, *path.parents[:len(Path(name).parts) - 1]):
        os.utime(place, (then, then))
    return name


def logs_of(run_id: str) -> str:
    return f"{run_id}/compute_logs/abcdefgh.err"


class TestWriting:
    def test_a_run_makes_no_file_and_is_in_the_event_log(self, instance: dg.DagsterInstance, home: Path) -> None:
        assert isinstance(instance.compute_log_manager, TickLogs)
        run = talking.execute_in_process(instance=instance)
        assert left(home) == [] and not (home / "storage" / run.run_id).exists()
        assert any(entry.user_message == "logged" for entry in instance.all_logs(run.run_id))

    def test_what_it_prints_stays_in_its_process(self, instance: dg.DagsterInstance, capfd: pytest.CaptureFixture[str]) -> None:
        talking.execute_in_process(instance=instance)
        assert "printed\n" in capfd.readouterr().out

    def test_a_silent_tick_makes_no_file(self, instance: dg.DagsterInstance, home: Path) -> None:
        with InstigationLogger(TICK, instance, "__repository__", "repository_poll"):
            pass
        assert left(home) == []
        assert get_instigation_log_records(instance, TICK) == []

    def test_what_a_tick_logs_can_be_read_again(self, instance: dg.DagsterInstance, home: Path) -> None:
        with InstigationLogger(TICK, instance, "__repository__", "repository_poll") as log:
            log.warning("acme/prod is away")
        (record,) = get_instigation_log_records(instance, TICK)
        assert "acme/prod is away" in record["msg"]
        assert left(home) == ["/".join(TICK) + ".err"]


class TestRemoving:
    def remove(self, instance: dg.DagsterInstance) -> int:
        return remove_old_files(instance, before=time.time() - 14 * DAY)

    def test_old_files_of_a_finished_run_go_and_the_run_stays(self, instance: dg.DagsterInstance, home: Path) -> None:
        run_id = a_run(instance)
        put(home, logs_of(run_id), days_old=15)
        assert self.remove(instance) == 1
        assert not (home / "storage" / run_id).exists()
        assert instance.get_run_by_id(run_id) is not None

    def test_young_files_stay(self, instance: dg.DagsterInstance, home: Path) -> None:
        young = put(home, logs_of(a_run(instance)), days_old=13)
        assert self.remove(instance) == 0
        assert left(home) == [young]

    def test_a_run_with_one_young_file_stays_whole(self, instance: dg.DagsterInstance, home: Path) -> None:
        run_id = a_run(instance)
        files = [put(home, f"{run_id}/compute_logs/old.err", days_old=15), put(home, f"{run_id}/compute_logs/new.err", days_old=1)]
        assert self.remove(instance) == 0
        assert left(home) == sorted(files)

    @pytest.mark.parametrize("status", [
        dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING])
    def test_a_run_in_progress_keeps_its_files_however_old(self, instance: dg.DagsterInstance, home: Path,
                                                           status: dg.DagsterRunStatus) -> None:
        kept = put(home, logs_of(a_run(instance, status)), days_old=400)
        assert self.remove(instance) == 0
        assert left(home) == [kept]

    def test_files_of_a_run_that_was_deleted_go(self, instance: dg.DagsterInstance, home: Path) -> None:
        put(home, logs_of("fee281cc-4497-41f3-8b0b-ac4652e13655"), days_old=15)
        assert self.remove(instance) == 1

    def test_old_logs_of_ticks_go_and_results_that_somebody_keeps_there_stay(self, instance: dg.DagsterInstance,
                                                                             home: Path) -> None:
        put(home, "__repository__/repository_poll/1.err", days_old=15)
        young = put(home, "__repository__/repository_poll/2.err", days_old=1)
        result = put(home, "some_asset/dev", days_old=400)
        assert self.remove(instance) == 1
        assert left(home) == sorted([young, result])

    def test_nothing_is_removed_through_a_link(self, instance: dg.DagsterInstance, home: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept.err").write_text("text")
        os.utime(outside / "kept.err", (0, 0))
        (home / "storage").mkdir(exist_ok=True)
        (home / "storage" / "linked").symlink_to(outside)
        assert self.remove(instance) == 0
        assert (outside / "kept.err").exists()

    def test_a_home_without_files_is_well(self, instance: dg.DagsterInstance, home: Path) -> None:
        assert self.remove(instance) == 0
        assert not (home / "storage").exists()


class TestTick:
    def tick(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> str:
        installation = SimpleNamespace(settings=Settings(**settings))
        monkeypatch.setattr(Wfops, "installation", property(lambda _: installation))
        answer = old_files(dg.build_sensor_context(instance=instance, resources={"wfops": Wfops()}))
        assert isinstance(answer, dg.SkipReason)
        return str(answer.skip_message)

    def test_it_goes_by_the_setting(self, instance: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put(home, logs_of(a_run(instance)), days_old=20)
        assert self.tick(instance, monkeypatch, log_retention_days=30) == "removed 0 files older than 30 days"
        assert "kept for ever" in self.tick(instance, monkeypatch, log_retention_days=0)
        assert len(left(home)) == 1
        assert self.tick(instance, monkeypatch) == "removed 1 files older than 14 days"
        assert left(home) == []
