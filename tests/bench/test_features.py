"""The features that `instructions.py` removes from a copy of the relay to measure their cost."""

from pathlib import Path

import pytest

from tests.bench import instructions
from tests.bench.under_load import TREE


@pytest.mark.parametrize("feature", instructions.FEATURES)
def test_each_feature_can_be_removed_from_a_copy_of_the_relay(feature: str, tmp_path: Path) -> None:
    copy = instructions.without(TREE, feature, tmp_path)
    assert any((copy / name).read_text() != (TREE / name).read_text() for name, _, _ in instructions.FEATURES[feature])
