# Commands for a CPU and for CUDA: docs/install.md. Not built yet.
ARG BASE=ubuntu:24.04
FROM ${BASE}
# Where torch without CUDA is; empty for torch with it.
ARG INDEX=https://download.pytorch.org/whl/cpu

# Triton compiles with gcc and Python's headers; OpenCV loads libGL and GLib; ffmpeg writes videos.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ffmpeg gcc git libc6-dev libgl1 libglib2.0-0 python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/source
COPY setup.cfg setup.py pyproject.toml MANIFEST.in LICENSE README.md model-index.yml ./
COPY configs configs
COPY tools tools
COPY ugatit_mm ugatit_mm
RUN python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir ${INDEX:+--extra-index-url "$INDEX"} '.[web,export,features]'

# Caches go to /tmp, so that any user may run it.
ENV PATH=/opt/venv/bin:$PATH HOME=/tmp
WORKDIR /work
ENTRYPOINT ["ugatit"]
CMD ["--help"]
