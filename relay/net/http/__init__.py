"""HTTP: one connection, its limits, and which route answers a request."""
