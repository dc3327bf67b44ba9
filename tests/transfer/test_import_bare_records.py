"""Records of an export that lack a field stay behind alone, with the reason."""

from pathlib import Path

import pytest

from tests.support.command_line import done


@pytest.mark.parametrize(
    ("content", "left"),
    [
        ('{"type": "relay", "format": 1, "at": 1}\n{"type": "user"}', "line 2: at: this field is required"),
        ('{"type": "version"}\n{"type": "user", "user": {}}', "line 2: user.username: this field is required"),
    ],
)
def test_record_without_a_needed_field_stays_behind_with_the_reason(content: str, left: str, tmp_path: Path) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text(content)
    assert f"left behind: 1 records ({left})" in done("import", file, data=tmp_path / "data").out
