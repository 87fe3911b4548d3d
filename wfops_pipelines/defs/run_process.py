"""Which process a run is in: tags of the runs that a command does in its own process."""

import os
import socket
from collections.abc import Mapping

from wfops_pipelines.services.holder import boot_id

HOST_TAG, BOOT_TAG, PID_TAG = "wfops/host", "wfops/boot", "wfops/pid"


def process_tags() -> Mapping[str, str]:
    """The tags that say: this process."""
    return {HOST_TAG: socket.gethostname(), BOOT_TAG: boot_id(), PID_TAG: str(os.getpid())}
