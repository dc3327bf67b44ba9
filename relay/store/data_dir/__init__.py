"""Opening a data directory: what it holds, and what keeps it from being opened."""
