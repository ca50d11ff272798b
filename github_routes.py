"""GitHub endpoints: repositories, pull requests and their reviews, issues, commit statuses."""

from __future__ import annotations

from flask import Blueprint

from utils.api.endpoint import Services, endpoint
from utils.api.github_access import caller_github, own_github
from utils.api.github_operations import merge_pull, report_status, update_pull
from utils.api.schemas.github import (
    NewComment,
    NewIssue,
    NewReply,
    NewReview,
    NewReviewComment,
    PullChange,
    PullMerge,
    PullsQuery,
    TaskStatusReport,
)
from utils.github.app import Purpose
from utils.github.models import (
    GitHubComment,
    GitHubIssue,
    GitHubMergeState,
    GitHubPull,
    GitHubRepository,
    GitHubReview,
    GitHubReviewComment,
    LineRange,
    ReviewEvent,
)
from utils.models.tasks import Json

blueprint = Blueprint("github", __name__, url_prefix="/github")

_REPOSITORY = "/repos/<name:owner>/<name:repository>"
_PULL = f"{_REPOSITORY}/pulls/<id:number>"
_ISSUE = f"{_REPOSITORY}/issues/<id:number>"


@blueprint.get("/repos")
@endpoint({"repositories": list[GitHubRepository]}, github=True)
def list_repositories(services: Services, user_id: str) -> Json:
    """List the repositories of your GitHub token, those pushed to last first, at most 300.

    It takes the token of the request or your stored one, never the server's.
    """
    with own_github(services, user_id) as github:
        return {"repositories": github.repositories()}


@blueprint.get(_REPOSITORY)
@endpoint({"repository": GitHubRepository}, github=True)
def get_repository(services: Services, user_id: str, owner: str, repository: str) -> Json:
    """Return a repository and the permissions of the token's user.

    A repository that was renamed or transferred is found under its old name too.
    """
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_METADATA) as github:
        return {"repository": github.repository(full_name)}


@blueprint.get(f"{_REPOSITORY}/branches")
@endpoint({"branches": list[str]}, github=True)
def list_branches(services: Services, user_id: str, owner: str, repository: str) -> Json:
    """List the names of a repository's branches, at most 300."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.CLONE) as github:
        return {"branches": github.branches(full_name)}


@blueprint.get(f"{_REPOSITORY}/pulls")
@endpoint({"pull_requests": list[GitHubPull]}, query=PullsQuery, github=True)
def list_pulls(
    services: Services, user_id: str, owner: str, repository: str, query: PullsQuery
) -> Json:
    """List the pull requests of a repository, newest first."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_PULLS) as github:
        pulls = github.pulls(full_name, state=query.state, limit=query.limit)
    return {"pull_requests": pulls}


@blueprint.get(_PULL)
@endpoint({"pull_request": GitHubPull}, github=True)
def get_pull(services: Services, user_id: str, owner: str, repository: str, number: int) -> Json:
    """Return a pull request."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_PULLS) as github:
        return {"pull_request": github.pull(full_name, number)}


@blueprint.put(_PULL)
@endpoint({"pull_request": GitHubPull}, body=PullChange, needs_body=True, github=True)
def change_pull(
    services: Services, user_id: str, owner: str, repository: str, number: int, body: PullChange
) -> Json:
    """Change a pull request's title, body, base branch, state or draft status.

    Fields you omit stay as they are.
    """
    return {"pull_request": update_pull(services, user_id, f"{owner}/{repository}", number, body)}


@blueprint.post(f"{_PULL}/merge")
@endpoint({"merged": bool, "sha": str | None}, body=PullMerge, github=True)
def merge(
    services: Services, user_id: str, owner: str, repository: str, number: int, body: PullMerge
) -> Json:
    """Merge a pull request.

    `sha` is the new commit, or null if the pull request was merged already.
    """
    merge_commit = merge_pull(services, user_id, f"{owner}/{repository}", number, body)
    return {"merged": True, "sha": merge_commit}


@blueprint.get(f"{_PULL}/comments")
@endpoint({"comments": list[GitHubReviewComment]}, github=True)
def list_review_comments(
    services: Services, user_id: str, owner: str, repository: str, number: int
) -> Json:
    """List the comments on lines of a pull request, oldest first, at most 300."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_PULLS) as github:
        return {"comments": github.review_comments(full_name, number)}


@blueprint.post(f"{_PULL}/comments")
@endpoint({"comment": GitHubReviewComment}, body=NewReviewComment, github=True)
def add_review_comment(
    services: Services, user_id: str, owner: str, repository: str, number: int,
    body: NewReviewComment,
) -> Json:  # fmt: skip
    """Comment on a line of a pull request, or on several."""
    full_name, purpose = f"{owner}/{repository}", Purpose.CHANGE_PULLS
    lines = LineRange(body.path, body.line, body.side, body.start_line)
    with caller_github(services, user_id, full_name, purpose, own_pull=number) as github:
        comment = github.add_review_comment(full_name, number, body.body, lines, commit=body.commit)
    return {"comment": comment}


@blueprint.post(f"{_PULL}/comments/<id:comment_id>/replies")
@endpoint({"comment": GitHubReviewComment}, body=NewReply, github=True)
def reply_to_comment(
    services: Services, user_id: str, owner: str, repository: str, number: int, comment_id: int,
    body: NewReply,
) -> Json:  # fmt: skip
    """Answer a comment on a line of a pull request."""
    full_name, purpose = f"{owner}/{repository}", Purpose.CHANGE_PULLS
    with caller_github(services, user_id, full_name, purpose, own_pull=number) as github:
        return {"comment": github.reply_to_comment(full_name, number, comment_id, body.body)}


@blueprint.get(f"{_PULL}/checks")
@endpoint({"merge_state": GitHubMergeState}, github=True)
def get_checks(services: Services, user_id: str, owner: str, repository: str, number: int) -> Json:
    """Return the checks of a pull request's latest commit, and what its merge lacks.

    Rules that the token may not read are left out.
    """
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_CHECKS) as github:
        return {"merge_state": github.merge_state(full_name, number)}


@blueprint.get(f"{_PULL}/reviews")
@endpoint({"reviews": list[GitHubReview]}, github=True)
def list_reviews(
    services: Services, user_id: str, owner: str, repository: str, number: int
) -> Json:
    """List the reviews of a pull request, oldest first, at most 300."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_PULLS) as github:
        return {"reviews": github.reviews(full_name, number)}


@blueprint.post(f"{_PULL}/reviews")
@endpoint({"review": GitHubReview}, body=NewReview, github=True)
def submit_review(
    services: Services, user_id: str, owner: str, repository: str, number: int, body: NewReview
) -> Json:
    """Approve a pull request, request changes or comment on it as a whole."""
    full_name, purpose = f"{owner}/{repository}", Purpose.CHANGE_PULLS
    with caller_github(services, user_id, full_name, purpose, own_pull=number) as github:
        review = github.submit_review(full_name, number, ReviewEvent(body.event), body.body)
    return {"review": review}


@blueprint.post(f"{_REPOSITORY}/issues")
@endpoint({"issue": GitHubIssue}, body=NewIssue, github=True)
def create_issue(
    services: Services, user_id: str, owner: str, repository: str, body: NewIssue
) -> Json:
    """Open an issue."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.CHANGE_ISSUES) as github:
        issue = github.create_issue(full_name, title=body.title, body=body.body, labels=body.labels)
    return {"issue": issue}


@blueprint.get(_ISSUE)
@endpoint({"issue": GitHubIssue}, github=True)
def get_issue(services: Services, user_id: str, owner: str, repository: str, number: int) -> Json:
    """Return an issue. GitHub counts pull requests as issues, so their numbers work too."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.READ_ISSUES) as github:
        return {"issue": github.issue(full_name, number)}


@blueprint.post(f"{_ISSUE}/comments")
@endpoint({"comment": GitHubComment}, body=NewComment, github=True)
def add_comment(
    services: Services, user_id: str, owner: str, repository: str, number: int, body: NewComment
) -> Json:
    """Comment on an issue or a pull request."""
    full_name = f"{owner}/{repository}"
    with caller_github(services, user_id, full_name, Purpose.COMMENT) as github:
        return {"comment": github.comment(full_name, number, body.body)}


@blueprint.post("/tasks/<id:task_id>/status")
@endpoint({"commit": str, "link": str | None}, body=TaskStatusReport, github=True)
def set_task_status(services: Services, user_id: str, task_id: int, body: TaskStatusReport) -> Json:
    """Set a commit status on the commit that a task pushed last, with a link to the task."""
    return report_status(services, user_id, task_id, body)
