"""Request and response schemas of user profiles; responses never contain secrets."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, GetPydanticSchema, SecretStr, create_model
from typing_extensions import TypedDict

from utils.agents.preferences import (
    MAX_LOGIN_FILE_BYTES,
    MAX_VALUE_CHARACTERS,
    MAX_VALUES_CHARACTERS,
    MAX_VARIABLES,
    is_variable_name,
)
from utils.agents.registry import SECTIONS
from utils.api.requests import Body, Description, JsonObject, Token, example
from utils.api.responses import Time
from utils.credentials.profiles import GITHUB_TOKEN, STORED, stored_access
from utils.credentials.vault import SEAL
from utils.models.tasks import Json
from utils.models.users import Profile

# A character takes up to four bytes, and encryption turns three bytes into four characters.
_SEALED_CHARACTERS = 6 * MAX_VALUE_CHARACTERS

StoredMark = Literal["[stored]"]

_STORED_OR_SEALED = rf"^(\[stored\]|{SEAL}.+)$"


def _variables(variables: dict[str, str]) -> dict[str, str]:
    if not all(map(is_variable_name, variables)):
        raise ValueError("a variable has a name that is not allowed")
    if any("\0" in value for value in variables.values()):
        raise ValueError("must not contain a NUL character")
    plain = [value for value in variables.values() if not value.startswith(SEAL)]
    if any(len(value) > MAX_VALUE_CHARACTERS for value in plain):
        raise ValueError(f"a variable has more than {MAX_VALUE_CHARACTERS} characters")
    if sum(map(len, plain)) > MAX_VALUES_CHARACTERS:
        raise ValueError(f"the variables have more than {MAX_VALUES_CHARACTERS} characters")
    return variables


def _login(credentials: Json) -> Json:
    if len(json.dumps(credentials)) > MAX_LOGIN_FILE_BYTES:
        raise ValueError(f"credentials are larger than {MAX_LOGIN_FILE_BYTES} bytes")
    return credentials


Variables = Annotated[
    dict[str, Annotated[str, Field(max_length=_SEALED_CHARACTERS)]],
    Field(
        max_length=MAX_VARIABLES,
        description="Environment variables of the agent. They replace the stored ones; send the "
        f"value {STORED} to keep a stored value.",
    ),
    AfterValidator(_variables),
]
Login = Annotated[JsonObject, AfterValidator(_login)]
StoredLogin = Annotated[
    str,
    Field(pattern=_STORED_OR_SEALED, max_length=2 * MAX_LOGIN_FILE_BYTES),
]


class AgentPreferencesChange(Body):
    """Settings of one agent for your tasks. Fields you omit stay as they are."""

    env: Variables = Field(default_factory=dict)
    credentials: Login | StoredLogin | None = Field(
        None, description="The agent's own login file. Null removes the stored one."
    )


_changes: dict[str, Any] = {
    section: (AgentPreferencesChange, Field(default_factory=AgentPreferencesChange))
    for section in SECTIONS
}
_PreferencesChange = create_model(
    "PreferencesChange",
    __base__=Body,
    __doc__="Preferences to change, by agent. Agents you omit stay as they are.",
    **_changes,
)
PreferencesChange = Annotated[
    Body, GetPydanticSchema(lambda _type, handler: handler(_PreferencesChange))
]


class ProfileChange(Body):
    """Fields of your profile to change. Fields you omit stay as they are."""

    model_config = example(full_name="Mona Lisa", github_username="octocat")

    full_name: Annotated[Description, Field(max_length=200)] | None = None
    avatar_url: Annotated[Description, Field(max_length=2_000, pattern="^https?://")] | None = None
    github_username: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,100}$")] | None = None
    github_token: Token | None = Field(
        None,
        description="GitHub token for tasks that are started without one. Null removes the "
        "stored one.",
    )
    preferences: PreferencesChange = Field(default_factory=_PreferencesChange)

    @property
    def columns(self) -> Json:
        """The columns to change, without the preferences. The token is in plain text."""
        columns = self.model_dump(exclude={"preferences"}, exclude_unset=True)
        token = columns.get(GITHUB_TOKEN)
        if isinstance(token, SecretStr):
            columns[GITHUB_TOKEN] = token.get_secret_value()
        return columns

    @property
    def sections(self) -> dict[str, Json]:
        """The sections of the preferences to change, each with the fields that were sent."""
        given: dict[str, Json] = self.preferences.model_dump(exclude_unset=True)
        return given


class AgentPreferencesRow(TypedDict):
    """Stored settings of one agent. Values are shown as [stored], never in plain text."""

    env: dict[str, StoredMark]
    credentials: StoredMark | None


_rows: dict[str, Any] = dict.fromkeys(SECTIONS, (AgentPreferencesRow, ...))
_PreferencesRow = create_model("PreferencesRow", __doc__="Stored preferences, by agent.", **_rows)
PreferencesRow = Annotated[
    dict[str, AgentPreferencesRow],
    GetPydanticSchema(lambda _type, handler: handler(_PreferencesRow)),
]


class ProfileRow(TypedDict):
    """A user's profile, without secrets."""

    id: str
    email: str | None
    full_name: str | None
    avatar_url: str | None
    github_username: str | None
    has_github_token: bool
    is_admin: bool
    preferences: PreferencesRow
    created_at: Time
    updated_at: Time


def profile_row(profile: Profile, *, is_admin: bool) -> ProfileRow:
    """Return a profile without its secrets; `is_admin` is what its caller may do."""
    return {
        "id": profile.id,
        "email": profile.email,
        "full_name": profile.full_name,
        "avatar_url": profile.avatar_url,
        "github_username": profile.github_username,
        "has_github_token": bool(profile.github_token),
        "is_admin": is_admin,
        "preferences": {name: _shown(profile.preferences, name) for name in SECTIONS},
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
    }


def _shown(preferences: Json, name: str) -> AgentPreferencesRow:
    variables, login = stored_access(preferences, name)
    return {"env": dict.fromkeys(variables, STORED), "credentials": STORED if login else None}
