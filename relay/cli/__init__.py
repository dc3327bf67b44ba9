"""The command line: thin commands, one per task of an admin. Only this room imports typer and rich.

Each module is one command (`app.py` names them), or shared by several.
"""
