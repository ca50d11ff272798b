"""Request schemas of the GitHub endpoints; responses use the values of `utils.github.models`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from utils.api.requests import Body, Label, Name, NotBlank, Number, Query, Text, example
from utils.github.client import STATUS_DESCRIPTION_CHARACTERS
from utils.github.comment_command import COMMAND, is_command
from utils.github.connection import MAX_LISTED
from utils.pull_requests.text import MAX_BODY_CHARACTERS, MAX_TITLE_CHARACTERS


def _no_command(text: str) -> str:
    if is_command(text):
        raise ValueError(f"must not begin with {COMMAND}; use /start-task to start a task")
    return text


OWN_STATUS = "async-code"
"""The context of the server's own commit statuses, and the prefix of further ones."""

Title = Annotated[NotBlank, Field(max_length=MAX_TITLE_CHARACTERS)]
LongText = Annotated[str, Field(max_length=MAX_BODY_CHARACTERS)]
CommentText = Annotated[Text, Field(max_length=MAX_BODY_CHARACTERS), AfterValidator(_no_command)]

MAX_LINE = 100_000_000


class PullsQuery(Query):
    """Selects pull requests, newest first."""

    state: Literal["open", "closed", "all"] = Field(
        "open", description="State of the pull requests to list."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_LISTED), Number] = Field(
        100, description="Maximum number of pull requests to return."
    )


class PullChange(Body):
    """Fields of a pull request to change. Fields you omit stay as they are."""

    model_config = example(title="Add CONTRIBUTING.md", draft=False)

    title: Title | None = None
    body: LongText | None = None
    base: Name | None = Field(None, description="Branch to merge into.")
    state: Literal["open", "closed"] | None = Field(
        None, description="Close or reopen the pull request."
    )
    draft: bool | None = Field(
        None, description="True makes it a draft; false marks it as ready for review."
    )


class PullMerge(Body):
    """Options of a merge."""

    model_config = example(method="squash")

    method: Literal["merge", "squash", "rebase"] = Field("merge", description="Merge method.")
    sha: str | None = Field(
        None,
        pattern="^[0-9a-f]{40}$",
        description="Merge only if this commit is the latest one of the pull request's branch.",
    )


class NewIssue(Body):
    """An issue to open."""

    model_config = example(title="README names no license", body="Which one is it?")

    title: Title
    body: LongText = ""
    labels: list[Label] = Field(default_factory=list, max_length=100)


class NewComment(Body):
    """A comment to add."""

    model_config = example(body="Thank you!")

    body: CommentText


class NewReviewComment(Body):
    """A comment on a line of a pull request."""

    model_config = example(path="AI_GENERATED.md", line=1, body="In English, please.")

    path: Annotated[NotBlank, Field(max_length=4_096)] = Field(
        description="Path of a changed file."
    )
    line: Annotated[int, Field(ge=1, le=MAX_LINE)] = Field(
        description="Number of the line, or of the last one of several."
    )
    side: Literal["RIGHT", "LEFT"] = Field(
        "RIGHT", description="RIGHT for lines of the new version, LEFT for removed ones."
    )
    start_line: Annotated[int, Field(ge=1, le=MAX_LINE)] | None = Field(
        None, description="Number of the first line of several."
    )
    commit: str | None = Field(
        None, pattern="^[0-9a-f]{40}$", description="The commit to comment on; the latest one."
    )
    body: CommentText


class NewReply(Body):
    """An answer to a comment on a line."""

    model_config = example(body="Done.")

    body: CommentText


class NewReview(Body):
    """A review of a pull request."""

    model_config = example(event="comment", body="Looks good to me.")

    event: Literal["approve", "request_changes", "comment"] = Field(
        description="What the review does."
    )
    body: LongText = Field("", description="Text of the review; an approval needs none.")

    @model_validator(mode="after")
    def _has_text(self) -> Self:
        if self.event != "approve" and not self.body.strip():
            raise ValueError("body: must not be empty for this event")
        return self


class TaskStatusReport(Body):
    """A commit status for the commit that a task pushed."""

    model_config = example(state="success", description="Reviewed")

    state: Literal["pending", "success", "failure"]
    description: Annotated[str, Field(max_length=STATUS_DESCRIPTION_CHARACTERS)] = ""
    context: Name = Field(
        OWN_STATUS, description="Name of the status; distinguishes it from other statuses."
    )
