"""`relay import`: matching people, sorting messages, and the requests to the relay. `formats/` reads the exports."""
