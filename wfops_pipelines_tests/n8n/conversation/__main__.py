"""Record a server: URL, key, generation, file."""

from __future__ import annotations

import sys
from pathlib import Path

from wfops_pipelines_tests.n8n.conversation.chapters import record

if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
