"""Tables that translate failures of libraries and remote services into our errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from utils.errors import AppError

Failure = TypeVar("Failure")
Answer = TypeVar("Answer")
Error = TypeVar("Error", bound=AppError)


@dataclass(frozen=True, slots=True)
class Rule(Generic[Failure, Answer]):
    """One row of a table: a failure that meets every given condition gets `answer`.

    `kinds` are classes of the failure, `statuses` HTTP statuses, `codes` the beginnings of codes.
    `pattern` is searched for in the text. `when` tests the failure itself.
    """

    answer: Answer
    kinds: tuple[type, ...] = ()
    statuses: Collection[int] = ()
    codes: tuple[str, ...] = ()
    pattern: str = ""
    when: Callable[[Failure], bool] | None = None


def first_match(
    rules: Iterable[Rule[Failure, Answer]],
    failure: Failure,
    *,
    status: int = 0,
    code: str = "",
    text: str = "",
    flags: re.RegexFlag = re.MULTILINE,
) -> Answer | None:
    """Return the answer of the first rule that the failure meets, None when it meets none."""
    for rule in rules:
        if (
            (not rule.kinds or isinstance(failure, rule.kinds))
            and (not rule.statuses or status in rule.statuses)
            and (not rule.codes or code.startswith(rule.codes))
            and re.search(rule.pattern, text, flags)
            and (rule.when is None or rule.when(failure))
        ):
            return rule.answer
    return None


@dataclass(frozen=True, slots=True)
class ErrorTemplate(Generic[Error]):
    """An error whose message may hold placeholders such as `{reason}`."""

    kind: type[Error]
    code: str | None
    message: str
    retry_after_seconds: int | None = None

    def fill(self, **values: str) -> Error:
        """Return the error with its placeholders replaced."""
        error = self.kind(self.message.format(**values).strip(), self.code)
        error.retry_after_seconds = self.retry_after_seconds
        return error
