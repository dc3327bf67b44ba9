"""Delivery: live events, replays, chat lists, presence and typing, and how each user sees an entry."""
