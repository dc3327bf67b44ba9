"""Tasks that run as long as the relay does."""
