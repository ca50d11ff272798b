"""Encrypts the secrets in a user's row, and decrypts them for tasks of that user.

Front ends may write plain text to the row as well; it is used unchanged. `utils.agents.preferences`
describes the structure. Each variable's value is encrypted separately; the credentials object is
replaced by one encrypted text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from database import Database
from utils.agents.json_lines import child
from utils.agents.registry import SECTIONS, sections_of
from utils.config.addresses import LOOPBACK_HOSTS
from utils.credentials.vault import Vault, is_sealed
from utils.errors import Conflict, InvalidInput, TaskError
from utils.models.tasks import Json
from utils.models.users import Profile

GITHUB_TOKEN = "github_token"  # noqa: S105  the name of a purpose
AGENT_ACCESS = "agent_access"
"""Purposes of secrets. A secret is decrypted only for the purpose it was encrypted for."""

STORED: Final = "[stored]"
"""Placeholder of a stored secret in responses; in requests it keeps the stored secret."""

MAX_TOKEN_CHARACTERS = 4_096

ATTEMPTS = 5
"""Maximum number of attempts when another writer changes the same row."""


def stored_token_for(
    vault: Vault, user_id: str, stored: str | None, repo_url: str, github_host: str
) -> str | None:
    """Return the stored token of a user if the repository is on GitHub, else None.

    The token is used for GitHub's host only, over https or, on this machine, http. Raises
    `TaskError` (`stored_secret_unreadable`).
    """
    url = urlsplit(repo_url)
    safe = url.scheme == "https" or (url.scheme == "http" and url.hostname in LOOPBACK_HOSTS)
    if not stored or not safe or url.netloc != github_host:
        return None
    token = vault.unseal(user_id, GITHUB_TOKEN, stored)
    return None if _fault(token) else _stripped(token).get_secret_value()


def open_request_token(vault: Vault, user_id: str, token: SecretStr | None) -> SecretStr | None:
    """Return the token of a request, decrypted if it is sealed.

    Clients may send the sealed text that they read from the row. Raises `InvalidInput` when it
    cannot be decrypted for this user, or is not a valid token.
    """
    if token is None:
        return None
    sent = token.get_secret_value()
    with _refusing("github_token"):
        opened = vault.unseal(user_id, GITHUB_TOKEN, sent)
    if fault := _fault(opened):
        raise InvalidInput(
            f"github_token: the stored token {fault}; store it again."
            if is_sealed(sent)
            else f"github_token: the value {fault}; send the token exactly as its host shows it."
        )
    return _stripped(opened)


def readable_preferences(vault: Vault, user_id: str, preferences: Json, agent: str) -> Json:
    """Return the decrypted preferences of an agent. Raises `TaskError`."""

    def opened(stored: str) -> str:
        return vault.unseal(user_id, AGENT_ACCESS, stored).get_secret_value()

    def opened_login(stored: Any) -> Any:
        if not is_sealed(stored):
            return stored
        try:
            return json.loads(opened(stored))
        except (ValueError, RecursionError):  # the user stored another sealed text here
            return None

    own = {name: preferences[name] for name in sections_of(agent) if name in preferences}
    return with_secrets(own, opened, opened_login)


def login_text(login: Any) -> str:
    """Serialize a login before it is sealed; return `null` for one that is nested too deeply."""
    try:
        return json.dumps(login)
    except RecursionError:
        return "null"


def _fault(token: SecretStr) -> str | None:
    """Return the reason why a text is not a valid token, or None when it is valid."""
    # Plain text may contain anything; a line end would add a line to the reply to git.
    text = _stripped(token).get_secret_value()
    if not text:
        return "is empty"
    if len(text) > MAX_TOKEN_CHARACTERS:
        return f"has more than {MAX_TOKEN_CHARACTERS} characters, more than any token"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "contains a space or another character that tokens do not have"
    return None


def _stripped(token: SecretStr) -> SecretStr:
    return SecretStr(token.get_secret_value().strip())


def with_secrets(
    preferences: Json, change_text: Callable[[str], str], change_login: Callable[[Any], Any]
) -> Json:
    """Return preferences with each variable's text and each login replaced."""
    changed = dict(preferences)
    for name in (name for names in SECTIONS.values() for name in names):
        section = dict(child(preferences, name))
        variables = {
            key: change_text(value) if isinstance(value, str) else value
            for key, value in _variables(section).items()
        }
        section |= {"env": variables} if child(section, "env") else variables
        if login := section.get("credentials"):
            section["credentials"] = change_login(login)
        if section:
            changed[name] = section
    return changed


def stored_access(preferences: Json, name: str) -> tuple[Json, Any]:
    """Return the stored variables and login of a section, from all its names."""
    found = [child(preferences, one) for one in SECTIONS[name]]
    variables: Json = {}
    for section in reversed(found):
        variables |= _variables(section)
    return variables, next((login for one in found if (login := one.get("credentials"))), None)


def change_profile(
    database: Database,
    vault: Vault,
    user_id: str,
    columns: Mapping[str, Any],
    sections: Mapping[str, Json],
) -> Profile:
    """Update columns, and `env` and `credentials` of sections of the preferences where given.

    Secrets are plain text, sealed for this user, or, in preferences, `STORED`. Raises
    `InvalidInput`, `NotFound`, and `Conflict` when other writers keep changing the row.
    """
    fields = dict(columns)
    if token := fields.get(GITHUB_TOKEN):
        with _refusing("github_token"):
            fields[GITHUB_TOKEN] = vault.renew(user_id, GITHUB_TOKEN, token)
    if not sections:
        return database.update_profile(user_id, fields) if fields else database.get_profile(user_id)
    for _ in range(ATTEMPTS):
        seen = database.get_profile(user_id)
        with _refusing("preferences"):
            fields["preferences"] = _changed(vault, seen, sections)
        if changed := database.replace_profile(user_id, seen, fields):
            return changed
    raise Conflict("Your profile was changed by another request at the same time; try again.")


def _changed(vault: Vault, seen: Profile, sections: Mapping[str, Json]) -> Json:
    changed = dict(seen.preferences)
    for name, given in sections.items():
        variables, login = stored_access(seen.preferences, name)
        if "env" in given:
            variables = {
                key: _stored_value(variables, key)
                if value == STORED
                else _validated(vault, seen.id, value)
                for key, value in given["env"].items()
            }
        if given.get("credentials", STORED) != STORED:
            login = given["credentials"]
            login = _validated(vault, seen.id, login) if isinstance(login, str) else login
        # Values under an older name would still be used.
        for older in SECTIONS[name]:
            changed.pop(older, None)
        changed[name] = {"env": variables, "credentials": login}

    def sealed(text: str) -> str:
        return text if is_sealed(text) else vault.seal(seen.id, AGENT_ACCESS, text)

    def sealed_login(login: Any) -> str:
        return sealed(login if is_sealed(login) else login_text(login))

    return with_secrets(changed, sealed, sealed_login)


def _stored_value(variables: Json, name: str) -> Any:
    if name not in variables:
        raise InvalidInput(f"preferences: no value is stored for a variable that is {STORED}.")
    return variables[name]


def _validated(vault: Vault, user_id: str, given: str) -> str:
    return vault.renew(user_id, AGENT_ACCESS, given) if is_sealed(given) else given


def _variables(section: Json) -> Json:
    flat = {key: value for key, value in section.items() if key not in {"env", "credentials"}}
    return child(section, "env") or flat


@contextmanager
def _refusing(field: str) -> Iterator[None]:
    try:
        yield
    except TaskError as error:
        raise InvalidInput(f"{field}: {error.message}", error.code) from None
