"""The error of invalid settings."""


class WrongSettings(Exception):
    """The settings are invalid; the message is one line for a person, with the place."""
