"""What runs as long as the relay does."""
