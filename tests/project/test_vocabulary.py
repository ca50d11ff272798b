"""Tests that identifiers which were replaced by the usual words of the field do not come back."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

from tests.support.source_files import ROOT, python_files

NEW_NAMES = {
    "Neighbours": "HeartbeatMonitor",
    "Host": "TaskHost",
    "Beat": "Heartbeat",
    "others_were_there": "has_peers",
    "take_on": "resume_tasks",
    "BEATS_WITHIN_SILENCE": "HEARTBEATS_PER_TIMEOUT",
    "StartGate": "AdmissionController",
    "StartPace": "StartRateLimiter",
    "KeptResults": "ResultOutbox",
    "store_somehow": "store_or_shrink",
    "RunParts": "RunContext",
    "Places": "ConcurrencyLimiter",
    "TaskLocks": "KeyedLocks",
    "Budget": "Deadline",
    "Wish": "PullRequestOptions",
    "Wanted": "PullRequestPlan",
    "Made": "PullRequestResult",
    "Means": "PublishContext",
    "Wishes": "LabelsAndReviewers",
    "Choice": "PullRequestSelector",
    "PullRequestRun": "PullRequestPublisher",
    "Allowed": "PullRequestConsents",
    "Unfinished": "UnfinishedTasks",
    "sort_unfinished": "classify_unfinished",
    "Followed": "OutputCursor",
    "FewRetries": "GitHubRetry",
    "_Questions": "_TokenRequests",
    "_Kept": "_CachedToken",
    "Bounds": "ResourceLimits",
    "Allowance": "ResourceBudget",
    "UserTokens": "GitHubTokenResolver",
    "made_row": "pull_request_row",
    "checked_row": "token_access_row",
    "LOOKED_THROUGH": "MAX_TASKS_SEARCHED",
    "_Impatient": "_ReadTimeoutSocket",
    "hold_data_folder": "lock_data_folder",
    "sweep_regularly": "run_sweeper",
    "beat": "record_heartbeat",
    "adopt_tasks": "claim_unfinished_tasks",
    "doubt": "request_reclaim",
    "put_back": "requeue",
    "give_back": "release",
    "user_tokens": "github_tokens",
    "_Known": "_CachedKeys",
    "bounds": "resources",
    "asked_for": "requested_name",
    "load_or_make_key": "load_or_create_key",
    "make_folders": "create_folders",
    "SEEN": "ALREADY_PROCESSED",
    "told": "call",
    "assert_told": "assert_failed",
    "cut_naps": "shorten_sleeps",
    "Deliverer": "WebhookSender",
    "kept_results": "stored_results",
    "E2B_TASK_PLACES": "E2B_PLAN_SANDBOXES",
}

ANY_NAME = re.compile(rf"\b(?:{'|'.join(NEW_NAMES)})\b")


def replaced_names(path: Path) -> dict[str, str]:
    """Return the replaced names in the code of a file by position, each with its new name."""
    text = (ROOT / path).read_text(encoding="utf-8")
    # Few files hold one of the words, and splitting all files into tokens takes seconds.
    if not ANY_NAME.search(text):
        return {}
    return {
        f"{path}:{token.start[0]} {token.string}": NEW_NAMES[token.string]
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.NAME and token.string in NEW_NAMES
    }


def test_no_replaced_name_comes_back() -> None:
    found: dict[str, str] = {}
    for path in python_files():
        found |= replaced_names(path)
    assert found == {}
