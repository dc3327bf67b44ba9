"""The command line: thin commands, each one thing an admin does. Only here are typer and rich imported.

The list of modules is the structure: a command each (`app.py` names them), and what they share.
"""
