"""Checks errors of calls that GitHub refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.github.names import TOKEN
from utils.errors import AppError


def error_of(action: Callable[..., object], *arguments: Any, **named: Any) -> AppError:
    """Return the error of an action; assert that it holds no secret and no text of GitHub's."""
    with pytest.raises(AppError) as refused:
        action(*arguments, **named)
    error = refused.value
    assert TOKEN not in f"{error!r} {error.message} {error.__cause__!r}"
    assert error.__suppress_context__ or error.__context__ is None
    return error
