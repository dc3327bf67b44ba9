"""chat-relay: an embedded, single-process chat relay for LANs and edge devices."""

__version__ = "0.1.0"
