"""What the lint found in the workflows of a plan, line by line (§11.5), of what the gate's details keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from wfops_pipelines.domain.shown import one_line

MAX_FINDINGS: Final = 20
_ORDER: Final = ("error", "warning", "info")
_GATE: Final = "lint"


def lint_entries(gates: Mapping[str, Any] | None, limit: int = MAX_FINDINGS) -> list[str]:
    """The findings of a report of gates as JSON (``GateReport.as_json()``): ``severity: workflow, 'node': message [rule]``,
    the worst first, then what somebody answers for; the last line counts those beyond ``limit``. Everything is masked."""
    found = sorted(_found(gates), key=lambda entry: entry[0])
    lines = [text for _, text in found[:limit]]
    return [*lines, f"and {len(found) - limit} more"] if len(found) > limit else lines


def _found(gates: Mapping[str, Any] | None) -> Iterator[tuple[int, str]]:
    for gate in (gates or {}).get("gates", ()):
        if gate["gate"] != _GATE:
            continue
        for report in (gate.get("details") or {}).get("workflows", ()):
            workflow = one_line(report["workflow"], 60) or "(no name)"
            for finding in report["findings"]:
                severity = finding["severity"]
                yield _ORDER.index(severity) if severity in _ORDER else 0, f"{severity}: {_said(workflow, finding)}"
            for finding in report["waived"]:
                waiver = finding["waiver"]
                yield len(_ORDER), (f"waived: {_said(workflow, finding)}, by {one_line(waiver['owner'], 60)} until "
                                    f"{waiver['expires_at'][:10]}: {one_line(waiver['reason'], 80)}")


def _said(workflow: str, finding: Mapping[str, Any]) -> str:
    node = "" if finding["node"] is None else f", '{one_line(finding['node'], 60)}'"
    return f"{workflow}{node}: {one_line(finding['message'], 200)} [{finding['rule']}]"
