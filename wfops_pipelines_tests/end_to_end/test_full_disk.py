"""The disk that holds the clones is full (§25): told as that at every size it can have, and done once there is room.

The disk is a small tmpfs that only the process under test sees: it is mounted in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from wfops_pipelines_tests.cli.fleet import Done, running_fleet, workflow
from wfops_pipelines_tests.servers.bare import make_bare
from wfops_pipelines_tests.servers.postgres import PostgresServer
from wfops_pipelines_tests.servers.processes import child_environment

NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--user", "--map-root-user"])]


@cache
def can_mount() -> bool:
    """Whether this machine lets us have a file system of our own."""
    try:
        tried = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


pytestmark = [pytest.mark.system, pytest.mark.xdist_group("full-disk"),
              pytest.mark.skipif(not can_mount(), reason="no mount namespace may be made here, so no disk is small")]

SWEEP = """
import json, subprocess, sys
from datetime import UTC, datetime
from pathlib import Path
from wfops_pipelines.domain.errors import WfopsError
from wfops_pipelines.git.open import open_repository
from wfops_pipelines.git.repository import RepositorySource

def whole_way(cache, url, head):
    repository = open_repository(RepositorySource(url=url, provider="git"), cache=cache)
    entries = repository.tree(repository.head("main"), "")
    assert len(list(repository.read_blobs(head, [entry.blob for entry in entries]))) == 2
    repository.commit("main", expected_head=head, changes={"n.json": b"[]"}, message="m", author="a", email="a@example.com",
                      when=datetime(2026, 1, 1, tzinfo=UTC))

url, head, bare, cache, *sizes = sys.argv[1:]
for size in sizes:
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", cache], check=True)
    try:
        whole_way(Path(cache), url, head)
        said = ["done", ""]
        subprocess.run(["git", "-C", bare, "-c", "safe.directory=*", "update-ref", "refs/heads/main", head], check=True)
    except WfopsError as error:
        said = [error.kind, str(error)]
    except Exception as error:
        said = [type(error).__name__, str(error)]
    finally:
        subprocess.run(["umount", "-l", cache], check=True)
    print(json.dumps([size, *said]), flush=True)
"""


def test_at_every_size_the_disk_is_named_until_there_is_room(tmp_path: Path) -> None:
    bare = make_bare(tmp_path / "acme.git")
    head = bare.commit({"a.json": os.urandom(60_000), "b/c.json": b"{}"})
    (tmp_path / "cache").mkdir()
    sizes = [f"size={k}k" for k in (4, 8, 12, 16, 20, 40, 80, 100, 120, 8000)] + [
        f"size=8m,nr_inodes={n}" for n in (2, 3, 4, 8, 9, 12, 13, 14, 24, 26, 27, 28, 31, 34, 100)]
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-c", SWEEP, bare.url, head, str(bare.path), str(tmp_path / "cache"), *sizes],
        env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [size for size, *_ in said] == sizes
    for size, kind, message in said:
        if kind != "done":
            assert kind == "outside" and "the disk that holds the clone is full" in message, (size, kind, message)
            assert bare.url in message and "make room in WFOPS_HOME" in message
    assert {size for size, kind, _ in said if kind == "done"} >= {"size=8000k", "size=8m,nr_inodes=100"}
    assert bare.head() == head


def test_a_command_tells_it_and_the_next_one_does_it(postgres_server: PostgresServer, tmp_path: Path) -> None:
    with running_fleet(postgres_server, tmp_path) as fleet:
        fleet.seed()
        fleet.repository.commit({"dev/a.json": json.dumps(workflow("A", url=os.urandom(100_000).hex())).encode()})
        assert fleet.wfops("apply", "-f", fleet.document).code == 0
        clones = tmp_path / "home" / "tenants" / "acme" / "git"
        clones.mkdir(parents=True, exist_ok=True)

        def on_a_full_disk(*arguments: str, size: str) -> Done:
            mounting = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
            done = subprocess.run([*NAMESPACE, "sh", "-c", mounting, str(clones), *fleet.wfops.command(*arguments)],
                                  cwd=tmp_path, env=fleet.wfops.environment(), capture_output=True, text=True, check=False)
            return Done(done.returncode, done.stdout, done.stderr)

        synced = on_a_full_disk("sync", "acme", "dev", "--json", size="60k")
        assert synced.code == 1
        assert "the disk that holds the clone is full" in synced.json[0]["error"]["message"]
        assert synced.json[0]["error"]["fix"] == "make room in WFOPS_HOME"
        assert (synced.json[0]["seen"], synced.json[0]["missing"]) == (3, 0)  # n8n has nothing to do with it

        exported = on_a_full_disk("export", "acme", "prod", size="60k")
        assert (exported.code, exported.out) == (1, "")
        assert exported.err.startswith("error: ") and "the disk that holds the clone is full" in exported.err
        assert exported.err.endswith("\nfix: make room in WFOPS_HOME\n")
        assert fleet.repository.text("rev-list", "--count", "main") == "1"

        fleet.repository.hook("pre-receive", "echo 'fatal: write error: No space left on device' >&2; exit 1")
        declined = fleet.wfops("export", "acme", "prod")
        assert (declined.code, declined.out) == (1, "")
        assert "the disk of the Git server is full" in declined.err and "\nfix: make room there" in declined.err
        fleet.repository.hook("pre-receive", "exit 0")

        assert fleet.wfops("export", "acme", "prod").code == 0
        assert fleet.repository.text("rev-list", "--count", "main") == "2"
        assert fleet.wfops("drift", "acme", "prod").code == 0
        operations = fleet.wfops("operation", "list", "acme", "--json").json
        assert {row["state"] for row in operations} == {"completed", "failed"}
