"""Uploaded files: taken in within the quota, named and typed safely, found for those who may have them."""
