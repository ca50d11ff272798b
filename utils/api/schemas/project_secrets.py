"""Schemas of the secrets of projects."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr
from typing_extensions import TypedDict

from utils.agents.preferences import is_variable_name
from utils.api.requests import Body, example, without_nul
from utils.api.responses import Time
from utils.errors import InvalidInput, NotFound
from utils.models.environments import ProjectSecret

MAX_SECRET_CHARACTERS = 4_096
MAX_NAME_CHARACTERS = 100


class SecretRow(TypedDict):
    """A secret of a project, without its value."""

    name: str
    for_agent: bool
    updated_at: Time


def _value(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    without_nul(text)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return secret


class NewSecret(Body):
    """The value of a secret. It replaces an earlier one of the same name."""

    model_config = example(value="<secret>", for_agent=False)

    value: Annotated[
        SecretStr, Field(min_length=1, max_length=MAX_SECRET_CHARACTERS), AfterValidator(_value)
    ] = Field(description="The value. No answer ever shows it.")
    for_agent: bool = Field(
        default=False,
        description="True gives it to the agent and the check, too; else only the setup has it.",
    )


def check_secret_name(name: str) -> str:
    """Return the name of a secret. Raises `InvalidInput` for one that no variable may have."""
    if len(name) > MAX_NAME_CHARACTERS or not is_variable_name(name):
        raise InvalidInput(
            "name: must consist of letters, digits and underscores, and not be one that changes "
            "shells or git, such as PATH and GIT_DIR."
        )
    return name


def known_secret_name(name: str) -> str:
    """Return the name of a secret that may exist. Raises `NotFound` for any other."""
    if len(name) > MAX_NAME_CHARACTERS or not is_variable_name(name):
        raise NotFound("The project has no such secret.")
    return name


def secret_row(secret: ProjectSecret) -> SecretRow:
    """Return the row of a secret."""
    return {
        "name": secret.name,
        "for_agent": secret.for_agent,
        "updated_at": secret.updated_at,
    }
