"""`relay doctor`: each check, and advice on its findings."""
