"""Takes errors out of exception groups, which come from nurseries and from trying several addresses. Pure."""

from collections.abc import Iterator
from contextlib import contextmanager


def only_error(error: BaseException) -> BaseException:
    """Unwrap the groups around one error; a group of several stays."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def first_error(error: BaseException) -> BaseException:
    """Return the first error of a group, however deep; return any other error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raise an error without the groups that nurseries have put around it; a group of several stays."""
    try:
        yield
    except BaseExceptionGroup as group:
        error = only_error(group)
        raise error from error.__cause__
