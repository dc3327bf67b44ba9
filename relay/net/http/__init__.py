"""HTTP: connections, their limits, and the routes that answer requests."""
