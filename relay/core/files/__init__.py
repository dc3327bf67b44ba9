"""Uploaded files: stored within the quota, with safe names and types, and served to those who may read them."""
