"""`relay doctor`: each check, and what to do about what it finds."""
