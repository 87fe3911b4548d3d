"""n8n over its public API: the provider protocol, the client, and the sandbox server."""
