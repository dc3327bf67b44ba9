"""The log and its one writer: batches, and background work between them."""
