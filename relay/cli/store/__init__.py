"""Commands about the store as a whole: check, backup, restore, prune."""
