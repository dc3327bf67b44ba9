"""Limits per user: on requests, on memory held at a time, and on the relay's time."""
