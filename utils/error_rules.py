"""Tables that translate failures of libraries and remote services into our errors."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from utils.errors import AppError

SEARCHED_CHARACTERS = 16_384
"""Longest text that is searched. Remote services may print any amount."""

Failure = TypeVar("Failure")
Answer = TypeVar("Answer")
Error = TypeVar("Error", bound=AppError)


@dataclass(frozen=True, slots=True)
class Rule(Generic[Failure, Answer]):
    """One row of a table: a failure that meets every given condition gets `answer`.

    `kinds` are classes of the failure, `statuses` HTTP statuses, `codes` the beginnings of codes.
    `pattern` and `also` are searched for in the text, so they must be linear: repetitions that may
    match what follows them have an upper bound. `when` tests the failure itself.
    """

    answer: Answer
    kinds: tuple[type, ...] = ()
    statuses: Collection[int] = ()
    codes: tuple[str, ...] = ()
    pattern: str = ""
    also: str = ""
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
    """Return the answer of the first rule that the failure meets, None when it meets none.

    Of a long text the beginning and the end are searched.
    """
    if len(text) > SEARCHED_CHARACTERS:
        half = SEARCHED_CHARACTERS // 2
        text = f"{text[:half]}\n{text[-half:]}"
    for rule in rules:
        if (
            (not rule.kinds or isinstance(failure, rule.kinds))
            and (not rule.statuses or status in rule.statuses)
            and (not rule.codes or code.startswith(rule.codes))
            and re.search(rule.pattern, text, flags)
            and re.search(rule.also, text, flags)
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
