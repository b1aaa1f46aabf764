# An agent. Built from the repository's root: docker build -f deploy/docker/agent.Dockerfile -t loadgen-agent .
# The base image has a tag only. For reproducible builds, add its digest (python:3.13-slim-bookworm@sha256:...), and
# build again when the tag gets security fixes. `make images` builds on a Debian base of its own with this name.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
# Two builds of the same sources give the same files: no time and no random order of sets in wheels and bytecode.
ENV SOURCE_DATE_EPOCH=315532800 PYTHONHASHSEED=0
COPY deploy/docker/requirements-build.txt deploy/docker/requirements-agent.txt ./
# --no-deps: the lock has every package that is imported. hdrhistogram also asks for pbr and setuptools, without a use.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.txt \
 && python -m venv --without-pip /opt/loadgen \
 && /opt/build/bin/pip --python /opt/loadgen/bin/python install --no-cache-dir --no-compile --no-deps \
    --only-binary :all: --require-hashes -r requirements-agent.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY loadgen loadgen
COPY agent agent
COPY controller controller
COPY tools/images/slim.py ./
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/loadgen/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
    /wheels/*.whl \
 && rm -r /opt/loadgen/bin/loadgen /opt/loadgen/lib/python3*/site-packages/loadgen_controller \
 && /opt/loadgen/bin/python -B slim.py make /opt/loadgen \
 && /opt/loadgen/bin/python -B slim.py check loadgen_agent loadgen.aws loadgen.bundle \
    loadgen.clients loadgen.drive loadgen.dsl loadgen.engine loadgen.measure loadgen.profiles loadgen.signed loadgen.wire

FROM python:3.13-slim-bookworm
# useradd writes the day into /etc/shadow, unless SOURCE_DATE_EPOCH is set.
RUN SOURCE_DATE_EPOCH=315532800 useradd --system --uid 10001 --user-group --home-dir /state \
    --shell /usr/sbin/nologin loadgen \
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
