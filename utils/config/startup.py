"""Reads the settings of a process, with the first steps that every command takes."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from pathlib import Path

from dotenv.parser import parse_stream
from pydantic import ValidationError

from utils.config.groups.cloud import OTHER_KEY_NAMES
from utils.config.private_folder import make_files_private
from utils.config.proxies import BYPASS_VARIABLE, PROXY_VARIABLES, prepare_proxies
from utils.config.settings import ENV_FILE, Settings, explain_settings, process_environment
from utils.errors import ConfigurationError

# Names that people and other tools use for our settings, where the letters alone do not tell.
_OTHER_NAMES = {
    **OTHER_KEY_NAMES,
    "DATABASE_URI": "DATABASE_URL",
    "DB_URL": "DATABASE_URL",
    "POSTGRES_URL": "DATABASE_URL",
    "POSTGRESQL_URL": "DATABASE_URL",
    "DIRECT_URL": "DATABASE_URL",
    "E2B_TEMPLATE": "E2B_TEMPLATE_ID",
    "E2B_ACCESS_TOKEN": "E2B_API_KEY",
    "GH_TOKEN": "GITHUB_TOKEN",
    "GITHUB_PAT": "GITHUB_TOKEN",
    "GITHUB_PRIVATE_KEY": "GITHUB_APP_PRIVATE_KEY",
    "GITHUB_WEBHOOK_TOKEN": "GITHUB_WEBHOOK_SECRET",
    "WEBHOOK_SECRET": "GITHUB_WEBHOOK_SECRET",
    "CORS_ALLOWED_ORIGINS": "CORS_ORIGINS",
    "ALLOWED_ORIGINS": "CORS_ORIGINS",
    "ALLOWED_HOSTS": "ALLOWED_GIT_HOSTS",
    "SUPABASE_KEY": "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_SERVICE_KEY": "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_SECRET_KEY": "SUPABASE_SERVICE_ROLE_KEY",
    "NEXT_PUBLIC_SUPABASE_URL": "SUPABASE_URL",
    "JWT_SECRET_KEY": "JWT_SECRET",
    "ENV": "ENVIRONMENT",
    "FLASK_ENV": "ENVIRONMENT",
    "LOGLEVEL": "LOG_LEVEL",
    "DATA_FOLDER": "DATA_DIR",
    "DATA_PATH": "DATA_DIR",
}
_SIMILAR = 0.74
# In the environment every program has its names, so only long and almost equal ones count.
_ALMOST_EQUAL = 0.93
_LONG_NAME = 8


def read_settings() -> Settings:
    """Return the settings of this process. Raises `ConfigurationError` with what to correct.

    From here on the process creates private files and uses the proxies in their plain form.
    """
    make_files_private()
    # `setting_warnings` tells more about lines that cannot be read.
    logging.getLogger("dotenv").setLevel(logging.ERROR)
    prepare_proxies(process_environment())
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError("\n".join(explain_settings(error))) from None
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{Path(ENV_FILE).absolute()} is not UTF-8 text. Save it again as UTF-8."
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{Path(ENV_FILE).absolute()} cannot be read: {error.strerror}. Make it readable for "
            "this user."
        ) from None


def setting_warnings() -> list[str]:
    """Return what is probably a mistake: unknown names, and lines of .env that cannot be read."""
    names = {name.upper() for name in Settings.model_fields}
    found = [*_file_warnings(names)]
    for name in sorted(process_environment()):
        if len(name) >= _LONG_NAME and name.upper() not in names:
            meant = difflib.get_close_matches(name.upper(), names, 1, _ALMOST_EQUAL)
            if meant:
                found.append(
                    f"the environment variable {name} is no setting. Do you mean {meant[0]}?"
                )
    return found


def _file_warnings(names: set[str]) -> Iterator[str]:
    path = Path(ENV_FILE)
    if not path.is_file():
        return
    with path.open(encoding="utf-8-sig") as file:
        for binding in parse_stream(file):
            text = binding.original.string.strip()
            if binding.error or (binding.key and binding.value is None):
                line = binding.original.line + binding.original.string[: len(text)].count("\n")
                yield f"line {line} of {ENV_FILE} cannot be read. Write NAME=value."
            elif binding.key:
                yield from _name_warnings(binding.key.strip(), names)


def _name_warnings(name: str, names: set[str]) -> Iterator[str]:
    upper = name.upper()
    if upper in names:
        return
    if upper in {*PROXY_VARIABLES, BYPASS_VARIABLE}:
        yield f"{name} in {ENV_FILE} has no effect. Set it in the environment of the server."
        return
    meant = _OTHER_NAMES.get(upper)
    similar = [meant] if meant else difflib.get_close_matches(upper, names, 1, _SIMILAR)
    if not similar:
        similar = [known for known in names if known.replace("_", "") == upper.replace("_", "")]
    if similar:
        yield f"{name} in {ENV_FILE} is no setting. Do you mean {similar[0]}?"
