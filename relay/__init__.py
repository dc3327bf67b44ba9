"""chat-relay: an embedded, single-process chat relay for LANs and edge devices."""

__version__ = "0.2.0.dev0"
"""A release has numbers and dots only. Between two releases it is the next version followed by .dev0."""
