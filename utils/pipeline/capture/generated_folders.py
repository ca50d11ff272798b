"""Names the folders that package managers, compilers and test runners generate.

A folder of such a name is not part of a result when the repository did not have it and no
`.gitignore` names it; a note of the task says so. This is the only list.
"""

from __future__ import annotations

from utils.models.tasks import Json

SETTING = "generated_folders"
"""The setting of a project that replaces the list."""

GENERATED_FOLDERS = (
    # JavaScript
    *("node_modules", "bower_components", "jspm_packages", ".pnpm-store", ".yarn-cache", ".npm"),
    *(".next", ".nuxt", ".svelte-kit", ".turbo", ".parcel-cache", ".angular", ".nyc_output"),
    # Python
    *(".venv", "venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis"),
    *(".tox", ".nox", ".eggs", "*.egg-info", ".ipynb_checkpoints", "__pypackages__"),
    # Rust, Java, Scala, Kotlin
    *("target", ".gradle", ".bsp", ".metals", ".kotlin"),
    # Others
    *(".bundle", "_build", ".elixir_ls", ".dart_tool", "DerivedData", "Pods", ".build"),
    *(".stack-work", "dist-newstyle", "elm-stuff", ".zig-cache", "zig-cache", "zig-out"),
    *(".terraform", ".terragrunt-cache", ".ccls-cache", ".clangd", ".cache", ".sass-cache"),
)

MAX_NAMES = 200
MAX_NAME_CHARACTERS = 100


def generated_folders(project_settings: Json) -> tuple[str, ...]:
    """Return the names for a project: those of its settings, else the list.

    A name may contain `*` and `?`. Entries that are no name of a folder are ignored.
    """
    chosen = project_settings.get(SETTING)
    if not isinstance(chosen, list):
        return GENERATED_FOLDERS
    return tuple(name for name in chosen if _is_name(name))[:MAX_NAMES]


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and 0 < len(name) <= MAX_NAME_CHARACTERS
        and name.isprintable()
        and "/" not in name
        and "\\" not in name
        and name not in {".", "..", ".git", "*"}
    )
