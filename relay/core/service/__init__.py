"""What a connection may ask: each request from its table to its answer, within the limits of its user."""
