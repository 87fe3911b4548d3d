"""An in-memory n8n public API as an ASGI app, with faults to switch on."""
