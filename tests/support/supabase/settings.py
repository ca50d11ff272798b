"""Builds settings for backends that store their rows in a Supabase project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.supabase.stack import SupabaseStack
from utils.config.settings import Settings


def rows_in(stack: SupabaseStack, **changes: Any) -> dict[str, Any]:
    """Return the settings of a backend that uses a project, with the given changes."""
    project = {
        "supabase_url": stack.url,
        "supabase_service_role_key": stack.service_role_key,
        # An earlier test may have left the task engine in it.
        "task_engine": "own",
    }
    return {**project, **changes}


def supabase_settings(stack: SupabaseStack, folder: Path, **changes: Any) -> Settings:
    """Return validated settings of a backend that uses a stack, with the given changes."""
    return Settings.model_validate({"data_dir": folder, **rows_in(stack, **changes)})
