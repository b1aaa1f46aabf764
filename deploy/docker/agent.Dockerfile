# An agent. Built from the repository's root: docker build -f deploy/docker/agent.Dockerfile -t loadgen-agent .
# The base image has a tag only. For reproducible builds, add its digest (python:3.13-slim-bookworm@sha256:...), and
# build again when the tag gets security fixes.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY deploy/requirements-machine.txt ./
RUN python -m venv /opt/loadgen \
 && /opt/loadgen/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-machine.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY loadgen loadgen
COPY agent agent
COPY controller controller
COPY deploy/docker/requirements-build.txt ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.txt \
 && /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/loadgen/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /state --shell /usr/sbin/nologin loadgen \
 && install -d -o loadgen -g loadgen -m 0700 /state
COPY --from=build /opt/loadgen /opt/loadgen
ENV PATH=/opt/loadgen/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/state
USER 10001:10001
WORKDIR /state
# Run it with a read-only root: it writes only to /state (undelivered deltas) and /tmp (unpacked scenarios).
VOLUME ["/state"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["loadgen-agent"]
CMD ["--help"]
