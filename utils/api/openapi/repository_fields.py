"""Describes the fields of tasks over several repositories."""

from __future__ import annotations

from utils.api.openapi.field_text import FieldText

_COMMIT = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d"

REPOSITORY_FIELDS: dict[str, FieldText] = {
    "FullTaskRow.repositories": FieldText("All repositories, if the task has several.", None),
    "TaskStatusRow.repositories": FieldText("All repositories, if the task has several.", None),
    "RepositoryRow.name": FieldText("The name of the repository, and of its folder.", "lib"),
    "FullRepositoryRow.name": FieldText("The name of the repository, and of its folder.", "lib"),
    "RepositoryRow.branch": FieldText("The branch that its work starts from.", "master"),
    "FullRepositoryRow.branch": FieldText("The branch that its work starts from.", "master"),
    "base_commit": FieldText("The commit that the work started from.", _COMMIT),
    "tree_hash": FieldText("The tree of the files of the result.", _COMMIT),
    "notes": FieldText("What is not part of the result, and why.", []),
    "CreatePullRequestAnswer.pull_requests": FieldText(
        "The pull request of each repository, if the task has several.", None
    ),
    "RepositoryPull.repository": FieldText("The name of the repository.", "lib"),
}
