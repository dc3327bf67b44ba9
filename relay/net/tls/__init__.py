"""Certificates: provided ones, and those of the relay's own authority."""
