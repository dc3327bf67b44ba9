"""Limits by user: how much one may ask for, hold at a time, and take of the relay's time."""
