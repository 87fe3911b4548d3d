"""The demo's sandbox n8n servers, in one process: ``python -m wfops_pipelines.embedded.demo_sandboxes FOLDER``.

``FOLDER/servers.json`` maps names to ``{"key_file": PATH}``; the answer is ``FOLDER/addresses.json``, names to URLs. What
a sandbox holds is kept in ``FOLDER/NAME.json``: started anew after a crash, they are where and what they were.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from wfops_pipelines.n8n.sandbox import create_sandbox
from wfops_pipelines.n8n.sandbox.serve import serve_many

ADDRESSES = "addresses.json"
_ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


def main(arguments: list[str]) -> int:
    """Serve until a signal comes."""
    folder = Path(arguments[0])
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    servers: dict[str, dict[str, str]] = json.loads((folder / "servers.json").read_text())
    answer = folder / ADDRESSES
    known: dict[str, str] = json.loads(answer.read_text()) if answer.exists() else {}
    sandboxes = [create_sandbox(api_key=Path(server["key_file"]).read_text().strip(), state_file=folder / f"{name}.json")
                 for name, server in servers.items()]
    ports = [urlsplit(known[name]).port or 0 for name in servers] if known else []
    with serve_many(sandboxes, ports=ports) as urls:
        draft = folder / f".{ADDRESSES}"
        draft.write_text(json.dumps(dict(zip(servers, urls, strict=True))))
        draft.replace(answer)
        signal.sigwait(_ENDING)
    for sandbox in sandboxes:
        sandbox.save()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
