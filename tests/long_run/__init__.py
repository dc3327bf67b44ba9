"""A long run of everything at once, and a checker that holds every device's log against what was answered."""
