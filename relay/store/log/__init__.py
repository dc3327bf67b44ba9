"""The log and its one writer: batches, and what is written between them."""
