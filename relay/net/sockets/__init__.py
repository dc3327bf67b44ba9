"""Sockets of every kind, and what the machine has for them."""
