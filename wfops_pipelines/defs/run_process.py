"""Which process a run is in: tags of the runs that a command does in its own process."""

import os
import socket
from collections.abc import Mapping

import psutil

from wfops_pipelines.services.holder import began, boot_id, pid_namespace

HOST_TAG, BOOT_TAG, PID_TAG, BEGAN_TAG = "wfops/host", "wfops/boot", "wfops/pid", "wfops/began"
NAMESPACE_TAG = "wfops/pid-namespace"


def process_tags() -> Mapping[str, str]:
    """The tags that say: this process."""
    return {HOST_TAG: socket.gethostname(), BOOT_TAG: boot_id(), NAMESPACE_TAG: pid_namespace(), PID_TAG: str(os.getpid()),
            BEGAN_TAG: str(began(psutil.Process()))}
