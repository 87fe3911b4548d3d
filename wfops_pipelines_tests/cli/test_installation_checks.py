"""Whatever a check of `wfops doctor` raises is a finding, with a way out."""

from __future__ import annotations

import errno

import pytest

from wfops_pipelines.cli.installation_checks import guarded
from wfops_pipelines.domain.errors import Blocked
from wfops_pipelines.services.diagnose import Finding


@pytest.mark.parametrize(("raised", "message", "fix"), [
    (Blocked("somebody holds it", fix="wait"), "somebody holds it", "wait"),
    (OSError(errno.EROFS, "Read-only file system", "home/start.lock"), "home/start.lock: Read-only file system", "WFOPS_HOME"),
    (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "Connection refused", "WFOPS_DEBUG"),
    (KeyError(), "KeyError", "WFOPS_DEBUG")])
def test_what_a_check_raises_is_its_finding(raised: Exception, message: str, fix: str) -> None:
    def work() -> Finding:
        raise raised

    finding = guarded("database", work)
    assert (finding.check, finding.ok) == ("database", False)
    assert message in finding.message and fix in str(finding.fix)
