"""The features that `instructions.py` takes out of a copy of the relay to measure what they cost."""

from pathlib import Path

import pytest

from tests.bench import instructions
from tests.bench.under_load import TREE


@pytest.mark.parametrize("feature", instructions.FEATURES)
def test_a_feature_can_be_taken_out_of_a_copy_of_the_relay(feature: str, tmp_path: Path) -> None:
    copy = instructions.without(TREE, feature, tmp_path)
    assert any((copy / name).read_text() != (TREE / name).read_text() for name, _, _ in instructions.FEATURES[feature])
