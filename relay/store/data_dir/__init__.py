"""Opening a data directory: its contents, and the reasons why it cannot be opened."""
