"""A long run of everything at once, and a checker that compares every device's log with the answers."""
