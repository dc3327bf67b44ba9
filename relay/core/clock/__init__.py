"""The relay's time, and what vouches for it."""
