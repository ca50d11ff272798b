"""The record of an agent that the project does not have, as its own file in `utils/agents`."""

from __future__ import annotations

from utils.agents.failures import ending_of, failed
from utils.agents.json_lines import Events, JsonLineReader, text
from utils.agents.spec import AgentRequest, AgentSpec, KeyVariable, Program
from utils.errors import AgentError
from utils.models.tasks import Json
from utils.sandboxes.protocol import SandboxPaths

PARROT_PROGRAM = Program(
    title="Parrot",
    command="parrot",
    provider="Aviary",
    package="@aviary/parrot",
    version="3.1.4",
    build_argument="PARROT_VERSION",
    key_setting="parrot_api_key",
    models_setting="parrot_models",
    keys=(KeyVariable("PARROT_API_KEY", "Authorization", "Bearer "),),
    server_key="PARROT_API_KEY",
    key_defaults={},
    other_access=(),
    host="api.aviary.example",
    login_hosts=(),
    endpoint_variable="PARROT_BASE_URL",
    own_prefixes=("PARROT",),
    harmless=frozenset(),
    environment={"PARROT_QUIET": "1"},
    sections=("parrot",),
    login_file=".parrot/login.json",
)


class ParrotReader(JsonLineReader):
    """Reads lines with a message or with the summary."""

    def _read(self, entry: Json) -> Events | None:
        if said := text(entry.get("said")):
            return [("message", {"text": said})]
        if done := text(entry.get("done")):
            self.finished, self.summary = True, done
            return [("result", {"text": done})]
        return None

    def _is_result(self, entry: Json) -> bool:
        return bool(entry.get("done"))

    def judge(self, exit_code: int | None, last_error_line: str) -> AgentError | None:
        """See `StreamReader`."""
        if self.finished and not exit_code:
            return None
        return failed(PARROT_PROGRAM, last_error_line, ending_of(exit_code))


def _command(_paths: SandboxPaths, request: AgentRequest) -> list[str]:
    return [PARROT_PROGRAM.command, *request.model_arguments("--model")]


PARROT = AgentSpec(
    name="parrot",
    command=_command,
    reader=ParrotReader,
    program=PARROT_PROGRAM,
    prompt_on_stdin=True,
)
