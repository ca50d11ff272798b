# What is in the sandboxes that tasks run in. `./run.sh build-template` builds it at E2B, by the
# SDK's Dockerfile conversion: one stage, and no CMD, because nothing has to run before a task.
# The versions are those in the agents' files (utils/agents/); a test compares them. A file in
# templates/ adds lines at the end, for a template with the tools of one language.
FROM node:22-trixie-slim

ARG CLAUDE_CODE_VERSION=2.1.332
ARG CODEX_VERSION=0.171.0

# What the backend's scripts and the agents use; bubblewrap is what Codex and Claude Code confine
# commands with when a team turns that on.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        bash bubblewrap ca-certificates coreutils curl git procps ripgrep util-linux \
    && rm -rf /var/lib/apt/lists/*

# What repositories commonly need to build and test themselves. Add here what all of yours need.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        build-essential python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*

# Into /usr/local/bin: a login shell resets PATH and still finds them there.
RUN npm install --global \
        "@anthropic-ai/claude-code@$CLAUDE_CODE_VERSION" "@openai/codex@$CODEX_VERSION" \
    && npm cache clean --force

# An install script that npm left out, or a missing native binary, shows only when they start.
RUN bash -l -c 'claude --version' | grep -F "$CLAUDE_CODE_VERSION" \
    && bash -l -c 'codex --version' | grep -F "$CODEX_VERSION"

# No USER and no WORKDIR: E2B adds `user` in /home/user, and the conversion makes them the default.
