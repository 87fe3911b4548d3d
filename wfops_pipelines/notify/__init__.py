"""Sending messages to people: mail, chats, webhooks (§16)."""
