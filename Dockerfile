# The server in a container: what ./run.sh does, as a user without privileges.
#
#   docker build -t async-code .
#   docker run --init -p 8000:8000 -v async-code-data:/data \
#       -e JWT_SECRET="$(openssl rand -hex 32)" -e E2B_API_KEY=e2b_... -e ANTHROPIC_API_KEY=... \
#       async-code
#
# Without E2B_API_KEY the server starts only with SANDBOX=local, which is not set in here: in that
# mode the agent is a process beside the server, under the same user, and can read the database and
# the keys in /data. Set it only when every user and every repository is trusted.
# --init reaps processes that an agent leaves behind.
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --uid 10001 app \
    && install --directory --owner=app --group=app --mode=700 /data

WORKDIR /app

# The packages in a layer of their own, which changes in the code leave alone.
COPY run.sh requirements.lock ./
RUN ./run.sh setup

COPY . .

USER app
ENV ENVIRONMENT=production \
    DATA_DIR=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=15s \
    CMD [".venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('PORT', '8000') + '/health/live', timeout=4)"]

CMD ["./run.sh", "serve"]
