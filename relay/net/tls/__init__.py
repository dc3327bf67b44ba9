"""Certificates: given, or made by an authority of the relay's own."""
