"""``python -m wfops_pipelines.api [PORT]``."""

import sys

from wfops_pipelines.api.server import main

sys.exit(main(sys.argv[1:]))
