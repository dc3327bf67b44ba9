"""How much one user may ask and hold at a time."""
