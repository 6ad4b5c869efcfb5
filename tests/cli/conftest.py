"""Commands called in this process draw in it: a second process for each call would cost a second of imports.

Tests that start the command as a user does have both; tests/evaluation/test_drawing.py is about the second one.
"""

import pytest

from somknn.cli import beside


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(beside, "_processors", lambda: 1)
