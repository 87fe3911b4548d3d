"""Who owns the definitions, and the tags they carry."""

OWNERS = ["team:platform"]
TAGS = {"product": "wfops"}
EXECUTES_IN_PROCESS = {"wfops/executor": "in_process"}
