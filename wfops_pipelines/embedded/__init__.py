"""What runs without installation: PostgreSQL, the demo fleet, real n8n servers, the processes of `wfops up`."""
