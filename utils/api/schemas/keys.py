"""Schemas of API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, cast

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from utils.api.requests import Body, NotBlank, example
from utils.api.responses import Time
from utils.models.users import ApiKey

MAX_DAYS = 3_650

ScopeName = Literal["read", "run", "admin"]


class ApiKeyRow(TypedDict):
    """An API key without its secret part. `last_used_at` is exact to the minute."""

    id: int
    name: str
    prefix: str
    scope: ScopeName
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None


def _moment(text: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(text))
        has_zone = moment.tzinfo is not None
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        has_zone = False
    if not has_zone:
        raise ValueError("must be a time with a time zone, such as 2027-01-31T12:00:00Z")
    if moment <= datetime.now(UTC):
        raise ValueError("must be in the future")
    return moment


class NewKey(Body):
    """An API key to make."""

    model_config = example(name="my laptop", scope="run", expires_in_days=90)

    name: Annotated[NotBlank, Field(max_length=100)] = Field(
        description="Name by which you recognize the key in the list."
    )
    scope: ScopeName = Field(
        "run",
        description="`read` may send GET requests only, `run` may also start and cancel tasks and "
        "open pull requests, `admin` may also change API keys, schedules, the profile and stored "
        "secrets.",
    )
    expires_in_days: Annotated[int, Field(ge=1, le=MAX_DAYS)] | None = Field(
        None, description="Days until the key expires; it never expires by default."
    )
    expires_at: Annotated[datetime, BeforeValidator(_moment)] | None = Field(
        None, description="Time at which the key expires, instead of `expires_in_days`."
    )


def api_key_row(key: ApiKey) -> ApiKeyRow:
    """Return the row of an API key."""
    return cast("ApiKeyRow", {name: getattr(key, name) for name in ApiKeyRow.__annotations__})
