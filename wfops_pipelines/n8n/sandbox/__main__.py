"""``python -m wfops_pipelines.n8n.sandbox``: one sandbox as a process; its address is the first line it prints, as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from wfops_pipelines.n8n.sandbox import Sandbox, create_sandbox
from wfops_pipelines.n8n.sandbox.javascript import parse
from wfops_pipelines.n8n.sandbox.samples import seed_samples
from wfops_pipelines.n8n.sandbox.serve import listening_socket, server_of


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m wfops_pipelines.n8n.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--generation", type=int, choices=(1, 2), default=2)
    parser.add_argument("--api-key-file", type=Path, help="the key is the content of this file")
    parser.add_argument("--seed", type=Path, help="a folder of workflows for a new sandbox, or 'samples'")
    parser.add_argument("--state", type=Path, help="keep the state in this file")
    parser.add_argument("--control", action="store_true", help="open /_sandbox/faults and /_sandbox/seed")
    return parser.parse_args(arguments)


def seed_folder(sandbox: Sandbox, folder: Path) -> int:
    """Seed from the workflow files of a folder; files that are none are left out. Gives how many there were."""
    found: list[Any] = []
    for file in sorted(folder.rglob("*.json")):
        try:
            value = parse(file.read_bytes().removeprefix(b"\xef\xbb\xbf"))
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("nodes"), list):
            found.append(value)
    return len(sandbox.state.seed_workflows(found))


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM."""
    asked = _arguments(arguments)
    key = asked.api_key_file.read_text(encoding="utf-8").strip() if asked.api_key_file else "sandbox-key"
    fresh = asked.state is None or not asked.state.exists()
    sandbox = create_sandbox(generation=asked.generation, api_key=key, control=asked.control, state_file=asked.state)
    if asked.seed is not None and fresh:
        if str(asked.seed) == "samples":
            seed_samples(sandbox.state)
        else:
            seed_folder(sandbox, asked.seed)
        sandbox.save()
    with listening_socket(asked.host, asked.port) as listener:
        address = {"url": f"http://{asked.host}:{listener.getsockname()[1]}", "pid": os.getpid()}
        sys.stdout.write(json.dumps(address) + "\n")
        sys.stdout.flush()
        server_of(sandbox).run(sockets=[listener])
    sandbox.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
