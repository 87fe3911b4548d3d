"""A conversation with an n8n, held the same way with a real one (recorded once) and with the sandbox.

``python -m wfops_pipelines_tests.n8n.conversation URL KEY GENERATION FILE`` records a server's answers. Ids, versions and
times are replaced by numbered placeholders, so that what is equal in one conversation must be equal in the other.
The server must be fresh: no workflows, tags, credentials or executions.
"""
