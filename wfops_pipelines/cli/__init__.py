"""The `wfops` command."""
