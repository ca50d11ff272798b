"""What a call that GitHub refuses ends with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.github_names import TOKEN
from utils.errors import AppError


def error_of(action: Callable[..., object], *arguments: Any, **named: Any) -> AppError:
    """Return the error that an action ends with; nothing in it is a secret or GitHub's."""
    with pytest.raises(AppError) as refused:
        action(*arguments, **named)
    error = refused.value
    assert TOKEN not in f"{error!r} {error.message} {error.__cause__!r}"
    assert error.__suppress_context__ or error.__context__ is None
    return error
