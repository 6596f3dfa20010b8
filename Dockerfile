# The endpoint in a container:          docker build -t vampnet-harp .
# With torch for an NVIDIA GPU:         docker build -t vampnet-harp:cuda --build-arg TORCH_BACKEND=cu130 .
# Run it; only this opens a port:       docker run --rm --init -p 127.0.0.1:7860:7860 vampnet-harp
# Arguments after the image's name are options of `vampnet serve`. More: docs/self-hosting.md
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# TORCH_BACKEND: cpu, or the CUDA version of the GPU's driver, as uv spells it (cu126, cu130, ...).
ARG TORCH_BACKEND=cpu
ARG TORCH=torch==2.13.0
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
RUN python -m venv /opt/vampnet && python -m pip install --quiet uv
# torch comes first and by itself: a changed source does not fetch it again, and as it fits the
# package's bounds nothing installed later replaces it.
RUN uv pip install --python /opt/vampnet --torch-backend "${TORCH_BACKEND}" "${TORCH}"
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY presets presets
COPY harp_app harp_app
COPY vampnet vampnet
RUN /opt/vampnet/bin/python -m pip install --quiet ".[serve]"

FROM python:${PYTHON}-slim
RUN useradd --create-home --uid 1000 vampnet
COPY --from=build /opt/vampnet /opt/vampnet
# Only /tmp is written to: uploads and results.
ENV PATH=/opt/vampnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VAMPNET_SECRET=""
USER vampnet
WORKDIR /home/vampnet

# The secret word is a variable here because the health check has to know it as well.
ENTRYPOINT ["sh", "-c", "exec vampnet serve --host 0.0.0.0 --port 7860 ${VAMPNET_SECRET:+--secret \"$VAMPNET_SECRET\"} \"$@\"", "vampnet"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; word = os.environ['VAMPNET_SECRET']; urllib.request.urlopen('http://127.0.0.1:7860' + (word and '/' + word) + '/health', timeout=4)"]
