# The four services, the migrations and the `vyris` command: one image; its arguments say what it runs.
#   docker build -f deploy/images/services.Dockerfile -t vyris-services .
#   docker run vyris-services services.mint
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
COPY requirements.txt /requirements.txt
# strip: some wheels have 22 MB of debugging symbols.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends binutils
# Only wheels, each with its locked hash: nothing is compiled, nothing is resolved.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --only-binary :all: --require-hashes \
      --requirement /requirements.txt \
 && /opt/venv/bin/pip uninstall --yes pip setuptools \
 && find /opt/venv -name '*.so' -exec strip --strip-unneeded {} +

FROM ${PYTHON_IMAGE}
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY suite.py suite.py
COPY buf buf
COPY vyris vyris
COPY services services
COPY schema schema
COPY stack stack
COPY admin admin
COPY cli cli
# What is imported here is compiled too: the packages, only those that are used.
RUN /opt/venv/bin/python -m compileall -q . \
 && /opt/venv/bin/python -c "import cli.main, schema.migrate, services.mint.__main__, services.encounter.__main__, \
services.wallet.__main__, services.reforge.__main__"
# The root can be mounted read-only: the services write only to /tmp, and in production nowhere.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
ENTRYPOINT ["python", "-m"]
CMD ["services.mint"]
