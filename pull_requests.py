"""Pull request endpoints: create one from a task's result, check a GitHub token."""

from __future__ import annotations

from flask import Blueprint

from auth import optional_caller
from utils.api.endpoint import Services, answer_once, endpoint
from utils.api.error_codes.shared import CALLER, PULL_REQUEST, SCOPE
from utils.api.github_access import token_of_request
from utils.api.schemas.pull_requests import (
    PULL_REQUEST_FIELDS,
    TOKEN_ACCESS_FIELDS,
    CreatePullRequest,
    ValidateToken,
    pull_request_answer,
    token_access_row,
)
from utils.models.tasks import Json
from utils.pull_requests.options import PullRequestOptions

blueprint = Blueprint("pull_requests", __name__)

CREATE_ERRORS = (*PULL_REQUEST, "invalid_branch")


@blueprint.post("/create-pr/<id:task_id>")
@endpoint(
    PULL_REQUEST_FIELDS, body=CreatePullRequest, github=True, idempotent=True, errors=CREATE_ERRORS
)
def create_pull_request(
    services: Services, user_id: str, task_id: int, body: CreatePullRequest
) -> Json:
    """Push a task's result and open a pull request.

    A task over several repositories gets one in each that has changes; their texts link to one
    another. The fields of the answer are those of the first one, `pull_requests` lists all.

    If the task has an open pull request already, the call updates its branch, and its title,
    body and base if you send them.
    """
    fields = {name: getattr(body, name) for name in CreatePullRequest.model_fields}
    fields |= {name: tuple(fields[name]) for name in ("labels", "reviewers")}
    fields["github_token"] = token_of_request(body.github_token)
    options = PullRequestOptions(**fields)

    def carry_out() -> Json:
        return pull_request_answer(services.pull_requests.create(user_id, task_id, options))

    return answer_once(services.database, user_id, carry_out)


@blueprint.post("/validate-token")
@endpoint(
    TOKEN_ACCESS_FIELDS,
    body=ValidateToken,
    public=True,
    needs_body=True,
    github=True,
    errors=(*CALLER, *SCOPE),
)
def validate_token(services: Services, body: ValidateToken) -> Json:
    """Check a GitHub token: its user, and its permissions in a repository.

    The check changes nothing on GitHub.
    """
    user_id = optional_caller(services)
    token = token_of_request(body.github_token)
    access = services.pull_requests.check_token(user_id, token, body.repo_url)
    return token_access_row(access)
