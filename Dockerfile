# The server in a container: what ./run.sh does, as a user without privileges.
#
#   docker build -t async-code .
#   docker run -p 8000:8000 -v async-code-data:/data \
#       -e JWT_SECRET="$(openssl rand -hex 32)" -e E2B_API_KEY=e2b_... -e ANTHROPIC_API_KEY=... \
#       async-code
#
# Without E2B_API_KEY the server starts only with SANDBOX=local, which is not set in here: in that
# mode the agent is a process beside the server, under the same user, and can read the database and
# the keys in /data. Set it only when every user and every repository is trusted.
# Commands: docker exec NAME ./run.sh doctor, ./run.sh migrate, ...
#
# To pin the base image, replace the next line by what
# `docker buildx imagetools inspect python:3.12-slim` prints as `Digest`: python:3.12-slim@sha256:...
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 app \
    && useradd --system --create-home --uid 10001 --gid app app \
    && install --directory --owner=app --group=app --mode=700 /data

WORKDIR /app

# The packages in a layer of their own, which changes in the code leave alone.
COPY run.sh requirements.lock ./
RUN ./run.sh setup

COPY . .

# As a number, so that a cluster can check that it is not root.
USER 10001:10001
ENV ENVIRONMENT=production \
    DATA_DIR=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD [".venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=4)"]

LABEL org.opencontainers.image.title="async-code" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.description="Runs coding agents on a fresh clone in a sandbox, over HTTP."

# tini passes signals on and reaps processes that an agent leaves behind. A server that is stopped
# puts its tasks back within the 10 s that containers are given (SHUTDOWN_GRACE_SECONDS).
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["./run.sh", "serve"]
