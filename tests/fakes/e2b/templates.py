"""Answers template builds, and lists what was built (docs/e2b.md section 9).

Nothing is built. Each look at a build carries it a few steps further, so a test that polls needs no
clock; `Settings.failing_step` is the step that fails. A template that is ready can be created from
by its id and its name.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from tests.fakes.e2b.control_plane import ENVD_VERSION, ControlPlane
from tests.fakes.e2b.http import Reply, Request

STEPS_PER_LOOK = 4
LOG_PAGE = 3
"""Maximum of log entries in one status answer: 100 at E2B, few here so that tests reach it."""

_STEP_TYPES = frozenset({"COPY", "ENV", "RUN", "USER", "WORKDIR"})


PLATFORM: dict[str, Any] = {
    "templateID": "platformbase",
    "buildID": "00000000-0000-4000-8000-000000000000",
    "cpuCount": 2,
    "memoryMB": 512,
    "diskSizeMB": 1024,
    "public": True,
    "aliases": ["base"],
    "names": ["e2b/base"],
    "createdBy": None,
    "lastSpawnedAt": None,
    "spawnCount": 0,
    "buildCount": 0,
    "envdVersion": ENVD_VERSION,
    "buildStatus": "ready",
    "isDefault": True,
    "description": "The base of the platform.",
}
"""One of the templates that every team sees beside its own."""


def _now() -> str:
    return datetime.now(UTC).isoformat()


@dataclass(slots=True)
class Build:
    """One build of one template."""

    template_id: str
    request: dict[str, Any]
    """The body of the first request, with name and size."""
    tags: list[str]
    id: str = field(default_factory=lambda: str(uuid4()))
    content: dict[str, Any] = field(default_factory=dict)
    """The body of the second request: the steps."""
    status: str = "waiting"
    step: int = 0
    """The number of finished steps; with `failed`, the number of the failed one."""
    log: list[dict[str, Any]] = field(default_factory=list)

    def say(self, message: str, level: str = "info", step: str = "base") -> None:
        """Append a line to the build's log."""
        now = datetime.now(UTC).isoformat()
        self.log.append({"timestamp": now, "message": message, "level": level, "step": step})

    def advance(self, failing_step: int | None) -> None:
        """Carry out the next step of the build."""
        steps = self.content["steps"]
        if self.step == len(steps):
            self.status = "ready"
            self.say("Build finished", step="finalize")
            return
        self.step += 1
        step = steps[self.step - 1]
        number = str(self.step)
        self.say(f"[builder {number}/{len(steps)}] {step['type']} {step['args'][0]}", step=number)
        if self.step == failing_step:
            self.status = "error"
            self.say("the last line of the command", "error", number)

    def seen(self, offset: int) -> dict[str, Any]:
        """Return the answer to a status request."""
        seen: dict[str, Any] = {
            "templateID": self.template_id,
            "buildID": self.id,
            "status": self.status,
            "logs": [],
            "logEntries": self.log[offset : offset + LOG_PAGE],
        }
        if self.status == "error":
            message = "failed to run command: exit status 1"
            seen["reason"] = {"message": message, "step": str(self.step), "logEntries": []}
        return seen


class Templates:
    """All templates and builds of the server."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane
        self._ids: dict[tuple[str, str], str] = {}
        """Template ids by team and name."""
        self._builds: dict[str, Build] = {}

    def answer(self, route: str, request: Request) -> Reply:
        """Carry out a request."""
        if refusal := self._control_plane.unauthorized(request):
            return refusal
        team = self._control_plane.team_of(request)
        if route == "template.list":
            return self._list(request, team)
        if route == "template.create":
            return self._create(request.json(), team)
        build = self._builds.get(request.path.split("/")[-2 if route == "template.status" else -1])
        if build is None:
            return Reply.error(404, f"the fake has no build at {request.path}")
        if route == "template.start":
            return self._start(build, request.json())
        return self._status(build, int(request.query.get("logsOffset", 0)))

    def _list(self, request: Request, team: str) -> Reply:
        ours = [(name, known) for (owner, name), known in self._ids.items() if owner == team]
        listed = [self._describe(name, known) for name, known in ours]
        listed += [PLATFORM | {"createdAt": _now(), "updatedAt": _now()}]
        start = int(request.query.get("nextToken", 0))
        end = start + self._control_plane.settings.page
        more = {"x-next-token": str(end)} if end < len(listed) else {}
        return Reply.of(200, listed[start:end], more)

    def _describe(self, name: str, template_id: str) -> dict[str, Any]:
        builds = [one for one in self._builds.values() if one.template_id == template_id]
        build, is_ready = builds[-1], any(one.status == "ready" for one in builds)
        own = {"templateID": template_id, "buildID": build.id, "aliases": [name]}
        names = ("cpuCount", "memoryMB")
        size = {one: build.request[one] if is_ready else 0 for one in names}
        other = {"isDefault": False, "names": [f"team/{name}"], "buildStatus": build.status}
        return PLATFORM | own | size | other | {"createdAt": _now(), "updatedAt": _now()}

    def _create(self, body: dict[str, Any], team: str) -> Reply:
        name, _, tag = body["name"].partition(":")
        template_id = self._ids.setdefault((team, name), secrets.token_hex(10))
        tags = [*([tag] if tag else []), *body.get("tags", [])] or ["default"]
        build = Build(template_id, body, tags)
        self._builds[build.id] = build
        answer = {"templateID": template_id, "buildID": build.id, "public": False}
        names = {"names": [name], "tags": tags, "aliases": [name]}
        return Reply.of(202, answer | names)

    def _start(self, build: Build, content: dict[str, Any]) -> Reply:
        unknown = {step["type"] for step in content["steps"]} - _STEP_TYPES
        if unknown or not content.get("fromImage"):
            return Reply.error(400, f"the fake does not know {unknown or 'a base image'}")
        build.content = content
        build.status = "building"
        build.say(f"FROM {content['fromImage']}")
        return Reply(202)

    def _status(self, build: Build, offset: int) -> Reply:
        settings = self._control_plane.settings
        for _ in range(STEPS_PER_LOOK):
            if build.status == "building":
                build.advance(settings.failing_step)
        if build.status == "ready" and settings.templates is not None:
            name = build.request["name"].partition(":")[0]
            known = (name, build.template_id)
            settings.templates += [f"{one}:{tag}" for one in known for tag in build.tags]
            # A name without a tag means the tag `default`, which a build with other tags lacks.
            settings.templates += known if "default" in build.tags else ()
        return Reply.of(200, build.seen(offset))
