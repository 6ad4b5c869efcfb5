"""Commands called in the test process draw in it: a second process per call would cost a second of imports.

Tests that start the command as a user does use both processes; tests/evaluation/test_drawing.py tests the second one.
"""

import pytest

from somknn.cli import beside


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(beside, "processors", lambda: 1)
