"""The requests of connections, from their table to their answers, within the limits of each user."""
