"""Webhooks: the text of what is posted to a chat, and the events that a chat posts to an address."""
