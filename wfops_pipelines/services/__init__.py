"""Use cases, one a file: they join n8n, Git and the store by the rules of the domain."""
