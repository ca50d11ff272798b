"""Profile endpoints: the caller's profile, and the secrets stored for the caller's tasks."""

from __future__ import annotations

from flask import Blueprint

from auth import current_caller, is_administrator
from utils.api.endpoint import Services, endpoint
from utils.api.schemas.profiles import ProfileChange, ProfileRow, profile_row
from utils.credentials.profiles import change_profile
from utils.models.tasks import Json
from utils.models.users import Profile, Scope

blueprint = Blueprint("users", __name__, url_prefix="/users")

CHANGE_ERRORS = ("stored_secret_unreadable", "not_found", "conflict")


@blueprint.get("/me")
@endpoint({"user": ProfileRow}, errors=("not_found",))
def get_profile(services: Services, user_id: str) -> Json:
    """Return your profile. Secrets are shown as [stored], never in plain text."""
    return {"user": _row(services, services.database.get_profile(user_id))}


@blueprint.put("/me")
@endpoint({"user": ProfileRow}, body=ProfileChange, scope=Scope.ADMIN, errors=CHANGE_ERRORS)
def update_profile(services: Services, user_id: str, body: ProfileChange) -> Json:
    """Change your profile. Fields you omit stay as they are; null removes a value.

    Secrets are encrypted before they are stored.
    """
    profile = change_profile(
        services.database, services.vault, user_id, body.columns, body.sections
    )
    return {"user": _row(services, profile)}


def _row(services: Services, profile: Profile) -> ProfileRow:
    is_admin = is_administrator(services.settings, current_caller())
    return profile_row(profile, is_admin=is_admin)
