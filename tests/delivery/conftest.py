"""A hub for tests of delivery."""

import pytest

from tests.support.hub_house import House


@pytest.fixture
def house() -> House:
    return House()
