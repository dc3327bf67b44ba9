"""An import that is interrupted at any of its requests is complete after a repeat."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import Ask, RequestRefused
from relay.cli.importers.importing import Importing
from relay.protocol.request_type import RequestType
from tests.kill_points.scenarios import Import
from tests.support.command_line import done, run

FULL = RequestRefused("storage_full", "the relay's disk is full: nothing was saved, try again later")


def _ended(after: int, by: BaseException) -> Callable[..., Importing]:
    """Make imports that end after this many requests."""

    def make(ask_one: Ask, *arguments: Any, **options: Any) -> Importing:
        asked = count()

        async def ask(kind: RequestType[Any, Any], request: Any, /) -> Any:
            if next(asked) == after:
                raise by
            return await ask_one(kind, request)

        return Importing(ask, *arguments, **options)

    return make


@pytest.mark.parametrize("by", [KeyboardInterrupt(), FULL], ids=["cut off", "disk full"])
def test_interrupted_import_is_complete_after_a_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: BaseException
) -> None:
    scenario = Import()
    scenario.prepare(tmp_path)
    for after in count():
        data = tmp_path / f"data{after}"
        data.mkdir()
        with monkeypatch.context() as patched:
            patched.setattr("relay.cli.transfer.Importing", _ended(after, by))
            ran = run("import", tmp_path / "out.tar", data=data)
        assert not ran.code or "again" in ran.err, ran
        done("import", tmp_path / "out.tar", data=data)
        scenario.compare(tmp_path, data)
        if not ran.code:
            break
    # Three people, a picture, three chats, a file, and the messages.
    assert after > 10
