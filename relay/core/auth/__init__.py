"""Who comes in: invites, passwords, tokens, and what slows guessing down."""
