"""The machine works on the fleets of the tests of the use cases."""

from wfops_pipelines_tests.services.conftest import moments, new_fleet, sandbox_host

__all__ = ["moments", "new_fleet", "sandbox_host"]
