"""Lists the templates at E2B: those of this project, and the others of the account.

The SDK has no method for the list, only the request that its other methods are made of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from e2b.api import handle_api_exception
from e2b.api.client.api.templates import get_v2_templates
from e2b.api.client.models.template import Template as FoundTemplate
from e2b.api.client.models.template_build_status import TemplateBuildStatus
from e2b.api.client.types import UNSET
from e2b.api.client_async import get_api_client
from e2b.connection_config import ConnectionConfig
from e2b.exceptions import SandboxException

from utils.config.settings import Settings
from utils.sandboxes.e2b.errors import translating
from utils.sandboxes.e2b.keys import KeyRing
from utils.sandboxes.protocol import Template
from utils.sandboxes.templates.definitions import DEFAULT_TAG, Definition, read_definitions

PAGES = 10
"""Pages that are read, of 100 templates each."""

REQUEST_SECONDS = 10.0
FAILED = 300
NEXT_PAGE = "x-next-token"

_STATUSES: Mapping[TemplateBuildStatus, Literal["ready", "building", "failed"]] = {
    TemplateBuildStatus.READY: "ready",
    TemplateBuildStatus.BUILDING: "building",
    TemplateBuildStatus.WAITING: "building",
    TemplateBuildStatus.ERROR: "failed",
}


class E2BTemplates:
    """The templates that sandboxes of one account can start from."""

    def __init__(self, settings: Settings, keys: KeyRing) -> None:
        self._keys = keys
        self._domain = settings.e2b_domain
        self._default = settings.e2b_template_id
        self._definitions = read_definitions()

    def id_of(self, name: str | None) -> str:
        """Return what E2B knows a template by: ours by their names there, others as they are."""
        if not name:
            return self._default
        definition = self._definitions.get(name)
        return definition.template_name if definition else name

    async def read(self) -> list[Template]:
        """Return the project's own templates, then the others. Raises `SandboxError`."""
        with translating():
            found = await self._read_pages()
        by_name = {name: one for one in found for name in _names(one)}
        built = {
            name: by_name.get(_plain(definition.template_name))
            for name, definition in self._definitions.items()
        }
        ours = [self._ours(self._definitions[name], one) for name, one in built.items()]
        taken = {one.template_id for one in built.values() if one is not None}
        return [*ours, *self._others([one for one in found if one.template_id not in taken])]

    async def _read_pages(self) -> list[FoundTemplate]:
        found: list[FoundTemplate] = []
        token: str | None = None
        for _ in range(PAGES):
            page, token = await self._keys.call(self._read_page, token)
            found += page
            if not token:
                break
        return found

    async def _read_page(
        self, token: str | None, *, api_key: str
    ) -> tuple[list[FoundTemplate], str | None]:
        config = ConnectionConfig(
            api_key=api_key, domain=self._domain, request_timeout=REQUEST_SECONDS, retries=0
        )
        answer = await get_v2_templates.asyncio_detailed(
            client=get_api_client(config), next_token=token or UNSET
        )
        if answer.status_code >= FAILED:
            raise handle_api_exception(answer)
        if not isinstance(answer.parsed, list):
            raise SandboxException("E2B answered no list of templates.")
        return answer.parsed, answer.headers.get(NEXT_PAGE)

    def _ours(self, definition: Definition, found: FoundTemplate | None) -> Template:
        template = Template(
            name=definition.name,
            id=None,
            origin="project",
            status="not_built",
            description=definition.description,
            cpu_count=definition.cpu_count,
            memory_mb=definition.memory_mb,
            tags=(DEFAULT_TAG, *definition.tags),
            programs=definition.programs,
        )
        if found is None:
            return template
        _, colon, tag = definition.template_name.partition(":")
        measured = self._measured(found)
        # E2B tells 0 for the size of a template of which no build was ready yet.
        known = {name: value for name, value in measured.items() if value is not None}
        return replace(template, **known | {"id": f"{found.template_id}{colon}{tag}"})

    def _others(self, found: Iterable[FoundTemplate]) -> Iterator[Template]:
        taken = set(self._definitions)
        for one in found:
            name = next((name for name in _names(one) if name not in taken), one.template_id)
            taken.add(name)
            origin: Literal["provider", "account"] = "provider" if one.is_default else "account"
            description = one.description if isinstance(one.description, str) else ""
            template = Template(name, one.template_id, origin, "ready", description)
            yield replace(template, **self._measured(one))

    def _measured(self, found: FoundTemplate) -> dict[str, Any]:
        """Return the fields that E2B knows best."""
        names = {found.template_id, *_names(found)}
        return {
            "id": found.template_id,
            "status": _STATUSES[found.build_status],
            "is_default": _plain(self._default) in names,
            "cpu_count": found.cpu_count or None,
            "memory_mb": found.memory_mb or None,
            "disk_mb": found.disk_size_mb or None,
            "updated_at": found.updated_at,
        }


def _names(found: FoundTemplate) -> list[str]:
    """Return the names of a template, in full and without the team in front."""
    names = [*found.aliases, *found.names]
    return [*dict.fromkeys([*(name.rpartition("/")[2] for name in names), *names])]


def _plain(name: str) -> str:
    """Return a name without its tag."""
    return name.partition(":")[0]
