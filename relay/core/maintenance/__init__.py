"""Maintenance: retention, the check, statistics, and space on the disk."""
