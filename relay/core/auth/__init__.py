"""Signing in: invites, passwords, tokens, and what slows guessing down."""
