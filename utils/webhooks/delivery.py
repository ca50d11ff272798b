"""Reads webhook deliveries and verifies their signatures."""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeVar

from flask import request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import from_json

from utils.api.endpoint import NotJson
from utils.errors import Forbidden, InvalidInput, TooLarge

MAX_BYTES = 25 * 1024 * 1024
"""Maximum size of a delivery, as documented by GitHub."""

MAX_READ_BYTES = 4_000_000
"""Maximum size of a parsed body. The longest pull requests and comments are much smaller."""

ALREADY_PROCESSED = "This delivery was already processed."
"""Answer to a repeated delivery."""

TIMEOUT_SECONDS = 4
"""Timeout of each request to GitHub, which itself waits ten seconds for our answer."""

READ_EVENTS = frozenset({"ping", "pull_request", "issue_comment", "push"})

_CHUNK_BYTES = 65_536
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_DELIVERY_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery. `content` is empty unless the event is one of `READ_EVENTS`."""

    id: str
    event: str
    content: bytes = field(repr=False)


class _Part(BaseModel):
    """Base class of parsed payloads; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, hide_input_in_errors=True)


class Account(_Part):
    """A user or a bot."""

    login: str
    type: str = "User"

    @property
    def is_bot(self) -> bool:
        """True when the account is a bot."""
        return self.type != "User" or self.login.endswith("[bot]")


class Repository(_Part):
    """The repository of an event."""

    full_name: str


class Head(_Part):
    """The head branch of a pull request."""

    ref: str


class Pull(_Part):
    """A pull request."""

    html_url: str
    number: int
    head: Head
    state: Literal["open", "closed"]
    merged: bool = False
    updated_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class PullRequestEvent(_Part):
    """The payload of a `pull_request` event."""

    action: str
    pull_request: Pull
    repository: Repository


class PushedRepository(Repository):
    """The repository of a push."""

    default_branch: str


class PushEvent(_Part):
    """The payload of a `push` event. `after` is the commit; all zeros when `deleted`."""

    ref: str
    after: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")]
    deleted: bool
    repository: PushedRepository


class Issue(_Part):
    """The issue of a comment; `pull_request` is set when it is a pull request."""

    number: int
    pull_request: object = None


class Comment(_Part):
    """A comment. `user` is None when the account was deleted.

    `performed_via_github_app` is the App that wrote it on behalf of the user, if any.
    """

    id: int
    body: str | None
    user: Account | None
    performed_via_github_app: object = None


class CommentEvent(_Part):
    """The payload of an `issue_comment` event."""

    action: str
    issue: Issue
    comment: Comment
    repository: Repository


Event = TypeVar("Event", bound=_Part)


def read_delivery(secret: SecretStr | None) -> Delivery:
    """Return the delivery of the current request.

    Raises `Forbidden` for a wrong signature, `TooLarge`, `NotJson` and `InvalidInput`.
    """
    if secret is None:
        raise Forbidden(
            "This server accepts no webhook deliveries. Set GITHUB_WEBHOOK_SECRET to the secret of "
            "the webhook on GitHub.",
            "webhook_secret_missing",
        )
    event = request.headers.get("X-GitHub-Event", "")
    content = _signed_content(secret, is_read=event in READ_EVENTS)
    if request.mimetype != "application/json":
        raise NotJson("Set the content type of the webhook on GitHub to application/json.")
    delivery_id = request.headers.get("X-GitHub-Delivery", "")
    if not event or not _DELIVERY_ID.fullmatch(delivery_id):
        raise InvalidInput("X-GitHub-Event or X-GitHub-Delivery is missing or not valid.")
    return Delivery(delivery_id, event, content)


def read_event(kind: type[Event], delivery: Delivery) -> Event:
    """Parse the payload of a delivery. Raise `InvalidInput` if it has not GitHub's form."""
    try:
        return kind.model_validate(from_json(delivery.content, allow_inf_nan=False))
    except ValidationError:
        raise InvalidInput("The delivery does not have the form of this event.") from None
    except ValueError:
        raise InvalidInput("The delivery is not valid JSON in UTF-8.", "invalid_json") from None


def _signed_content(secret: SecretStr, *, is_read: bool) -> bytes:
    signature = request.headers.get("X-Hub-Signature-256", "")
    if not _SIGNATURE.fullmatch(signature):
        raise _unsigned()
    request.max_content_length = MAX_BYTES
    digest = hmac.new(secret.get_secret_value().encode(), digestmod=hashlib.sha256)
    content = bytearray()
    while chunk := request.stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        if is_read:
            content += chunk
        if len(content) > MAX_READ_BYTES:
            raise TooLarge(f"A delivery of this event may have at most {MAX_READ_BYTES:,} bytes.")
    if not hmac.compare_digest(f"sha256={digest.hexdigest()}", signature):
        raise _unsigned()
    return bytes(content)


def _unsigned() -> Forbidden:
    return Forbidden(
        "X-Hub-Signature-256 does not match. The secret of the webhook on GitHub must equal "
        "GITHUB_WEBHOOK_SECRET.",
        "signature_invalid",
    )
