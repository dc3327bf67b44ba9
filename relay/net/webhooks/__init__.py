"""Webhooks: the text of posts to a chat, and the events that a chat posts to an address."""
