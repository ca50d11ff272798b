"""Reads and writes reviews of pull requests, and comments on lines of their changes."""

from __future__ import annotations

from itertools import islice

from github.PullRequestComment import PullRequestComment
from github.PullRequestReview import PullRequestReview

from utils.github.connection import MAX_LISTED, GitHubConnection, given
from utils.github.errors import translating
from utils.github.models import GitHubReview, GitHubReviewComment, LineRange, ReviewEvent, required

_PAGE = 100


class PullReviews(GitHubConnection):
    """Operations on the reviews of a pull request."""

    def review_comments(self, full_name: str, number: int) -> tuple[GitHubReviewComment, ...]:
        """Return the comments on lines of a pull request, oldest first."""
        with translating("pull request"):
            # PyGithub's own list asks again for each comment that answers none.
            url, requester = self._pull(full_name, number).url, self._github.requester
            comments: list[GitHubReviewComment] = []
            for page in range(1, MAX_LISTED // _PAGE + 1):
                parameters = {"per_page": _PAGE, "page": page}
                headers, found = requester.requestJsonAndCheck("GET", f"{url}/comments", parameters)
                comments += (
                    _comment_value(PullRequestComment(requester, headers, one, completed=True))
                    for one in found
                )
                if len(found) < _PAGE:
                    break
            return tuple(comments)

    def add_review_comment(
        self, full_name: str, number: int, body: str, lines: LineRange, *, commit: str | None = None
    ) -> GitHubReviewComment:
        """Comment on lines of a pull request, at its latest commit unless another one is given.

        Raises `InvalidInput` (`line_not_in_diff`).
        """
        with translating("pull request"):
            pull = self._pull(full_name, number)
            made = pull.create_review_comment(
                body,
                commit or pull.head.sha,
                lines.path,
                line=lines.line,
                side=lines.side,
                start_line=given(lines.start_line),
                start_side=given(None if lines.start_line is None else lines.side),
            )
            return _comment_value(made)

    def reply_to_comment(
        self, full_name: str, number: int, comment_id: int, body: str
    ) -> GitHubReviewComment:
        """Answer a comment on a line."""
        with translating("comment"):
            pull = self._pull(full_name, number)
            return _comment_value(pull.create_review_comment_reply(comment_id, body))

    def reviews(self, full_name: str, number: int) -> tuple[GitHubReview, ...]:
        """Return the reviews of a pull request, oldest first."""
        with translating("pull request"):
            reviews = self._pull(full_name, number).get_reviews()
            return tuple(_review_value(review) for review in islice(reviews, MAX_LISTED))

    def submit_review(
        self, full_name: str, number: int, event: ReviewEvent, body: str
    ) -> GitHubReview:
        """Approve a pull request, request changes or comment on it.

        Raises `Conflict` (`review_refused`), for example for one's own pull request.
        """
        with translating("pull request"):
            pull = self._pull(full_name, number)
            return _review_value(pull.create_review(body=body, event=event.upper()))


def _comment_value(comment: PullRequestComment) -> GitHubReviewComment:
    return GitHubReviewComment(
        id=comment.id,
        url=required(comment.html_url),
        body=comment.body or "",
        author=comment.user.login if comment.user else None,
        path=required(comment.path),
        # Both are null for a comment on a file, and on lines that have changed since.
        line=comment.line,
        start_line=comment.start_line,
        side=comment.side,
        commit=required(comment.commit_id),
        reply_to=comment.in_reply_to_id,
        created_at=comment.created_at,
    )


def _review_value(review: PullRequestReview) -> GitHubReview:
    return GitHubReview(
        id=review.id,
        url=required(review.html_url),
        state=required(review.state).lower(),
        body=review.body or "",
        author=review.user.login if review.user else None,
        commit=review.commit_id,
        submitted_at=review.submitted_at,
    )
