"""Backups: making them, putting them in place and undoing that, so that a kill at any moment loses nothing."""
