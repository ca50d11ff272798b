"""What may be handed to an agent program as a model's name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from utils.errors import AgentError

# Never a leading dash, which would make it an option. Brackets and colons occur in real names.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,99}")


def model_arguments(option: str, model: str | None) -> Sequence[str]:
    """Return the arguments that choose a model. Raises `AgentError` for what cannot be a name.

    The server's list of models was checked before; this guard is for the day when it was not.
    """
    if model is None:
        return ()
    if not _MODEL.fullmatch(model):
        raise AgentError("agent_model is not the name of a model: letters, digits and . _ : / -")
    return option, model
