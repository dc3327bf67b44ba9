"""`relay import`: who is who, in which order, and the requests to the relay. `formats/` reads what is imported."""
