"""Backups: made, put in place, and brought back, so that being killed at any moment loses nothing."""
