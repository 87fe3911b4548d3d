"""What the API is tested with: fleets with databases of their own."""

from wfops_pipelines_tests.services.conftest import fleet, moments, new_fleet, sandbox_host

__all__ = ["fleet", "moments", "new_fleet", "sandbox_host"]
