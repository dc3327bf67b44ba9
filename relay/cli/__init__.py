"""The command line: thin commands, each one thing an admin does. Only here are typer and rich imported."""
