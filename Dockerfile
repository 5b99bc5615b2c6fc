# The engine in an image, for a CPU or, with NVIDIA's container toolkit, a GPU (not tried on one).
#
#   docker build -t imagenet-engine .
#   docker run --rm imagenet-engine
#   docker run --rm --gpus=all --shm-size=8g -v /data:/data -v "$PWD:/work" --user "$(id -u):$(id -g)" imagenet-engine \
#       torchrun --standalone --nproc-per-node=8 /app/train_imagenet.py -C rn50_88_epochs --data.train_dataset=/data/...
#
# The first prints what `python -m engine doctor` finds. Runs are written to /work. Any user will do, also one without
# a line in /etc/passwd, and so will a read-only /work, if --logging.folder names another folder. tests/test_container.py
# reads this file, and builds it where docker runs.

FROM python:3.12.10-slim-bookworm AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ENV UV_NO_CACHE=1 UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON=/usr/local/bin/python3.12
WORKDIR /app
# What takes long, and changes only with the locked environment: compilers, and packages of 3 GB.
COPY scripts scripts
COPY requirements requirements
RUN scripts/setup.sh setup default && rm -rf /var/lib/apt/lists/*
COPY . .
RUN scripts/setup.sh setup default && rm -rf .tools

FROM python:3.12.10-slim-bookworm
# Libraries of the C decoders and of ffcv, and the C compiler that Triton needs on a GPU. Debian keeps one version of
# each, so none is named.
# hadolint ignore=DL3008
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends \
        gcc libc6-dev libjpeg62-turbo libopencv-core406 libopencv-imgproc406 libturbojpeg0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home trainer \
    && install --directory --mode=1777 /work
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /work
USER 1000
CMD ["python", "-m", "engine", "doctor"]
