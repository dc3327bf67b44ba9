"""A data directory that is about to be used: what it holds, and what is in the way."""
