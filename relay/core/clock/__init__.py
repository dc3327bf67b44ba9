"""The relay's clock, and the evidence that it is right."""
