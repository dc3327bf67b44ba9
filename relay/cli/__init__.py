"""The command line: thin commands, one per task of an admin. Only this room imports typer and rich.

The list of modules is the structure: one command each (`app.py` names them), and shared ones.
"""
