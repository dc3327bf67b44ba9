"""Signing in: invites, passwords, tokens, and the limits on guessing."""
