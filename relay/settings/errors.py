"""The error of invalid settings."""


class WrongSettings(Exception):
    """The settings are invalid; the message tells what and where, in one line for a person."""
