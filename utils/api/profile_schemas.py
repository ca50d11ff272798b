"""What requests and answers hold of a user's profile; secrets come in and never go out."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr
from typing_extensions import TypedDict

from utils.agents.preferences import (
    MAX_LOGIN_FILE_BYTES,
    MAX_VALUE_CHARACTERS,
    MAX_VALUES_CHARACTERS,
    MAX_VARIABLES,
    is_variable_name,
)
from utils.api.requests import Body, Description, JsonObject, Token
from utils.api.responses import Time
from utils.credentials.profiles import GITHUB_TOKEN, SECTIONS, STORED, stored_access
from utils.credentials.vault import SEAL
from utils.models.tasks import Json
from utils.models.users import Profile

# A character is up to four bytes, and three bytes are four characters once they are encrypted.
_SEALED_CHARACTERS = 6 * MAX_VALUE_CHARACTERS

StoredMark = Literal["[stored]"]

_STORED_OR_SEALED = rf"^(\[stored\]|{SEAL}.+)$"


def _variables(variables: dict[str, str]) -> dict[str, str]:
    if not all(map(is_variable_name, variables)):
        raise ValueError("one of the variables has a name that agents are not given")
    if any("\0" in value for value in variables.values()):
        raise ValueError("must not hold a NUL character")
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
        description=f"Environment of the agent; the value {STORED} keeps what is stored.",
    ),
    AfterValidator(_variables),
]
Login = Annotated[JsonObject, AfterValidator(_login)]
KeptLogin = Annotated[
    str,
    Field(pattern=_STORED_OR_SEALED, max_length=2 * MAX_LOGIN_FILE_BYTES),
]


class AgentPreferencesChange(Body):
    """What a user's runs of an agent are given; what is left out stays as it is."""

    env: Variables = Field(default_factory=dict)
    credentials: Login | KeptLogin | None = Field(
        None, description="The agent's own login file; null removes it."
    )


class PreferencesChange(Body):
    """The agents whose preferences change."""

    claude_code: AgentPreferencesChange = Field(
        default_factory=AgentPreferencesChange, alias="claudeCode"
    )
    codex: AgentPreferencesChange = Field(default_factory=AgentPreferencesChange)


class ProfileChange(Body):
    """What to change of the caller's profile."""

    full_name: Annotated[Description, Field(max_length=200)] | None = None
    avatar_url: Annotated[Description, Field(max_length=2_000, pattern="^https?://")] | None = None
    github_username: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,100}$")] | None = None
    github_token: Token | None = Field(
        None, description="For tasks on GitHub that are started without one; null removes it."
    )
    preferences: PreferencesChange = Field(default_factory=PreferencesChange)

    @property
    def columns(self) -> Json:
        """The columns to change, the token in the clear; without the preferences."""
        columns = self.model_dump(exclude={"preferences"}, exclude_unset=True)
        token = columns.get(GITHUB_TOKEN)
        if isinstance(token, SecretStr):
            columns[GITHUB_TOKEN] = token.get_secret_value()
        return columns

    @property
    def sections(self) -> dict[str, Json]:
        """The sections of the preferences to change, with what is given of each."""
        given: dict[str, Json] = self.preferences.model_dump(by_alias=True, exclude_unset=True)
        return given


class AgentPreferencesRow(TypedDict):
    """Which variables and whether a login is stored; never what they are."""

    env: dict[str, StoredMark]
    credentials: StoredMark | None


class PreferencesRow(TypedDict):
    """What is stored for each agent."""

    claudeCode: AgentPreferencesRow
    codex: AgentPreferencesRow


class ProfileRow(TypedDict):
    """A user's profile."""

    id: str
    email: str | None
    full_name: str | None
    avatar_url: str | None
    github_username: str | None
    has_github_token: bool
    preferences: PreferencesRow
    created_at: Time
    updated_at: Time


def profile_row(profile: Profile) -> ProfileRow:
    """Return a profile without its secrets."""
    shown: Any = {name: _shown(profile.preferences, name) for name in SECTIONS}
    return {
        "id": profile.id,
        "email": profile.email,
        "full_name": profile.full_name,
        "avatar_url": profile.avatar_url,
        "github_username": profile.github_username,
        "has_github_token": bool(profile.github_token),
        "preferences": shown,
        "created_at": profile.created_at,
        "updated_at": profile.updated_at,
    }


def _shown(preferences: Json, name: str) -> AgentPreferencesRow:
    variables, login = stored_access(preferences, name)
    return {"env": dict.fromkeys(variables, STORED), "credentials": STORED if login else None}
