"""The settings of a backend whose rows live in a Supabase project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.supabase.stack import SupabaseStack
from utils.config.settings import Settings


def rows_in(stack: SupabaseStack, **changes: Any) -> dict[str, Any]:
    """Return the settings that put the rows into a project, with the given ones changed."""
    project = {"supabase_url": stack.url, "supabase_service_role_key": stack.service_role_key}
    return {**project, **changes}


def supabase_settings(stack: SupabaseStack, folder: Path, **changes: Any) -> Settings:
    """Return the settings with the given ones changed."""
    return Settings.model_validate({"data_dir": folder, **rows_in(stack, **changes)})
