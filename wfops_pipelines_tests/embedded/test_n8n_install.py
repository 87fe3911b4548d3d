"""Installing a real n8n: found when whole, redone when broken off, never silently half there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.embedded import n8n_install
from wfops_pipelines.embedded.n8n_install import find_install, install


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of our own with the shell and nothing else; tests put a stand-in for npm there (the real one takes minutes)."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "mkdir", "dirname", "cat"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def _stand_in(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


#: Makes what npm leaves behind: Node where Node was asked for, else n8n and sqlite3, whose addon is "compiled" by Node.
_NPM = """
echo "$@" >> "{calls}"
case "$*" in
*node-*@*) name=$(for a; do case $a in node-*@*) echo "${{a%@*}}";; esac; done)
   mkdir -p node_modules/$name/bin node_modules/$name/include
   printf '#!/bin/sh\\nmkdir -p build/Release && echo addon > build/Release/node_sqlite3.node' > node_modules/$name/bin/node
   chmod 755 node_modules/$name/bin/node ;;
*) {fails}
   mkdir -p node_modules/n8n/bin node_modules/sqlite3
   echo '{{"version":"2.41.1"}}' > node_modules/n8n/package.json
   echo '{{"version":"5.1.7"}}' > node_modules/sqlite3/package.json
   echo entry > node_modules/n8n/bin/n8n ;;
esac
"""


def _npm(tools: Path, calls: Path, *, fails: str = "") -> None:
    home = tools / "npm-home"
    gyp = home / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"
    gyp.parent.mkdir(parents=True, exist_ok=True)
    gyp.touch()
    (home / "bin").mkdir(exist_ok=True)
    _stand_in(home / "bin", "npm", _NPM.format(calls=calls, fails=fails).replace("chmod", shutil.which("chmod", path="/bin:/usr/bin") or ""))
    (tools / "npm").unlink(missing_ok=True)
    (tools / "npm").symlink_to(home / "bin" / "npm")
    _stand_in(tools, "node", "true")


def test_a_version_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"known: 2\.41\.1"):
        install("0.1.0", tmp_path)


def test_without_npm_the_way_out_is_named(tmp_path: Path, tools: Path) -> None:
    with pytest.raises(UsageError, match=r"Node\.js with npm on the PATH") as raised:
        install("2.41.1", tmp_path / "cache")
    assert "sandbox" in (raised.value.fix or "")
    assert not (tmp_path / "cache").exists()


def test_nothing_is_found_in_an_empty_cache(tmp_path: Path) -> None:
    assert find_install("2.41.1", tmp_path) is None


def test_an_install_is_made_once_and_found_again(tmp_path: Path, tools: Path) -> None:
    calls, cache = tmp_path / "calls", tmp_path / "cache"
    _npm(tools, calls)
    said: list[str] = []
    made = install("2.41.1", cache, said.append)
    assert (made.version, made.generation) == ("2.41.1", 2)
    assert find_install("2.41.1", cache) == made == install("2.41.1", cache)
    assert len(calls.read_text().splitlines()) == 2  # Node, and n8n
    assert len(said) == 3  # and the compiler


def test_an_install_that_was_broken_off_is_not_found_and_finished(tmp_path: Path, tools: Path) -> None:
    calls, cache = tmp_path / "calls", tmp_path / "cache"
    _npm(tools, calls, fails="echo no network; exit 3")
    with pytest.raises(UsageError, match=r"exit 3.*install\.log"):
        install("2.41.1", cache)
    assert find_install("2.41.1", cache) is None
    _npm(tools, calls)
    assert install("2.41.1", cache).entry.is_file()


def test_an_install_whose_files_are_gone_is_made_again(tmp_path: Path, tools: Path) -> None:
    calls, cache = tmp_path / "calls", tmp_path / "cache"
    _npm(tools, calls)
    made = install("2.41.1", cache)
    shutil.rmtree(made.folder / "node_modules")
    assert find_install("2.41.1", cache) is None
    assert install("2.41.1", cache) == made
    assert made.entry.is_file()


def test_a_finished_npm_install_of_the_same_recipe_is_taken_over(tmp_path: Path, tools: Path) -> None:
    calls, cache = tmp_path / "calls", tmp_path / "cache"
    _npm(tools, calls)
    made = install("2.41.1", cache)
    (made.folder / "installed.json").unlink()
    install("2.41.1", cache)
    assert len(calls.read_text().splitlines()) == 2


def test_an_install_by_another_recipe_is_made_again(tmp_path: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, cache = tmp_path / "calls", tmp_path / "cache"
    _npm(tools, calls)
    install("2.41.1", cache)
    monkeypatch.setitem(n8n_install.OVERRIDES, "2.41.1", {"xlsx": "0.18.5"})
    assert find_install("2.41.1", cache) is None
    made = install("2.41.1", cache)
    assert json.loads((made.folder / "package.json").read_text())["overrides"] == {"xlsx": "0.18.5"}
    assert len(calls.read_text().splitlines()) == 3
