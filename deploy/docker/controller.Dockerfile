# A controller, and every other command. Built from the repository's root:
#   docker build -f deploy/docker/controller.Dockerfile -t loadgen-controller .
# The base image has a tag only. For reproducible builds, add its digest (python:3.13-slim-bookworm@sha256:...), and
# build again when the tag gets security fixes. `make images` builds on a Debian base of its own with this name.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
# Two builds of the same sources give the same files: no time and no random order of sets in wheels and bytecode.
ENV SOURCE_DATE_EPOCH=315532800 PYTHONHASHSEED=0
COPY deploy/docker/requirements-build.txt deploy/docker/requirements-controller.txt ./
# --no-deps: the lock has every package that is imported. hdrhistogram also asks for pbr and setuptools, without a use.
RUN python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.txt \
 && python -m venv --without-pip /opt/loadgen \
 && /opt/build/bin/pip --python /opt/loadgen/bin/python install --no-cache-dir --no-compile --no-deps \
    --only-binary :all: --require-hashes -r requirements-controller.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY loadgen loadgen
COPY agent agent
COPY controller controller
COPY tools/images/slim.py ./
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/build/bin/pip --python /opt/loadgen/bin/python install --no-cache-dir --no-compile --no-deps --no-index \
    /wheels/*.whl \
 && /opt/loadgen/bin/python -B slim.py make /opt/loadgen \
 && /opt/loadgen/bin/python -B slim.py check loadgen_controller loadgen_agent loadgen

FROM python:3.13-slim-bookworm
# useradd writes the day into /etc/shadow, unless SOURCE_DATE_EPOCH is set.
RUN SOURCE_DATE_EPOCH=315532800 useradd --system --uid 10001 --user-group --home-dir /state \
    --shell /usr/sbin/nologin loadgen \
 && install -d -o loadgen -g loadgen -m 0700 /state
COPY --from=build /opt/loadgen /opt/loadgen
ENV PATH=/opt/loadgen/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 XDG_STATE_HOME=/state
USER 10001:10001
WORKDIR /state
# Run it with a read-only root: it writes only to /state (run folders) and /tmp.
VOLUME ["/state"]
STOPSIGNAL SIGTERM
EXPOSE 5557 5558 5559
ENTRYPOINT ["loadgen"]
CMD ["--help"]
