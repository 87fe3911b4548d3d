"""``python -m wfops_pipelines_tests.benchmarks [MODULE…]``: runs benchmarks, without names all but the longest, prints their figures and
writes them to ``reports/benchmarks.json`` as ``[{name, value, unit, goal, ok}]``.

Exits with 1 when a goal is missed. What cannot run here is skipped and says why.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

from wfops_pipelines_tests.benchmarks.rows import Row, Skipped, show

MODULES = ("hash_throughput", "repository_reads", "first_sync", "sync_memory", "incidents", "promotions", "pushes",
           "sweep", "hot_queries", "simulated_day", "real_hour")
REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks.json"


def main(arguments: list[str]) -> int:
    """The exit code: 0 when every goal is met, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Speed and memory, as ratios in one run")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; all without any")
    parser.add_argument("--report", type=Path, default=REPORT, help=f"default {REPORT}")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.modules) - set(MODULES)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(MODULES)}")
    rows: list[Row] = []
    for name in asked.modules or MODULES:
        try:
            module = import_module(f"{__package__}.{name}")
            if not asked.modules and hasattr(module, "TAKES"):
                raise Skipped(f"it takes {module.TAKES}: make bench ARGS={name}")
            found: list[Row] = module.measure()
        except Skipped as reason:
            print(f"skipped {name}: {reason}", flush=True)
            continue
        show(found, name)
        rows += found
    asked.report.parent.mkdir(parents=True, exist_ok=True)
    draft = asked.report.with_name(f".{asked.report.name}")
    draft.write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
    draft.replace(asked.report)
    missed = [found["name"] for found in rows if not found["ok"]]
    print(f"{len(rows)} figures in {asked.report}" + (f"; missed: {', '.join(missed)}" if missed else ", every goal is met"))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
