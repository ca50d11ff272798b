"""Makes the files that a run needs in its sandbox beside the repository."""

from __future__ import annotations

from utils.agents.spec import AgentAccess, AgentSpec
from utils.git.environment import agent_configuration, commit_message
from utils.models.runs import Job
from utils.pipeline.workspace import agent_prompt
from utils.sandboxes.protocol import SandboxPaths

LOGIN_DIGEST = "login_digest"
"""A file in the work folder: which login the sandbox got."""


def capture_files(job: Job, paths: SandboxPaths) -> dict[str, bytes]:
    """Return the files that clone and capture of each repository read, by their paths."""
    ours = {
        "commit_message": commit_message(job.agent, job.title, job.task_id),
        "generated_folders": "".join(f"{name}\n" for name in job.generated_folders).encode(),
    }
    return {
        f"{paths.home}/.gitconfig": agent_configuration(),
        **{
            f"{paths.within(one.folder).work}/{name}": content
            for one in job.repositories
            for name, content in ours.items()
        },
    }


def agent_files(
    job: Job, agent: AgentSpec, access: AgentAccess, paths: SandboxPaths
) -> dict[str, bytes]:
    """Return the files that the agent needs, by their paths."""
    ours = {"prompt": agent.prompt_text(agent_prompt(job, agent)).encode(), **agent.files}
    if access.login_files:
        ours[LOGIN_DIGEST] = access.login_digest
    servers = agent.mcp_files(paths, job.mcp_servers) if job.mcp_servers else {}
    home = {**agent.home_files(paths), **access.login_files}
    return {
        **{f"{paths.home}/{name}": content for name, content in home.items()},
        **{f"{paths.work}/{name}": content for name, content in ours.items()},
        **servers,
    }
