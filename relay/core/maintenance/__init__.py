"""Keeps a relay healthy: retention, the check, statistics, and space on the disk."""
