# One image for every part of the service; compose says which part a container is.
#
#   docker build -t nrv:cpu .
#   docker build -t nrv:cuda --build-arg DEVICE=cuda .
FROM python:3.11-slim-bookworm AS build
ARG DEVICE=cpu
WORKDIR /build
# For the C kernels; without them decoding would be several times slower.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/nrv
ENV PATH=/opt/nrv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml setup.py constraints.txt README.md LICENSE ./
COPY hypernet ./hypernet
COPY encoder_service ./encoder_service
COPY workers ./workers
COPY migrations ./migrations
# PyPI's build of PyTorch brings CUDA (several GiB); the CPU build comes from PyTorch's own index.
RUN case "$DEVICE" in \
      cpu) index="--extra-index-url https://download.pytorch.org/whl/cpu" ;; \
      cuda) index="" ;; \
      *) echo "DEVICE is cpu or cuda, not $DEVICE" >&2; exit 2 ;; \
    esac \
    && pip install $index -c constraints.txt '.[service,worker,train]'

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/nrv nrv
COPY --from=build /opt/nrv /opt/nrv
# The NVIDIA variables are read by its container runtime and ignored without one.
ENV PATH=/opt/nrv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER nrv
WORKDIR /var/lib/nrv
# Owned by nrv, so that a volume mounted here is, too.
RUN mkdir scratch
VOLUME /var/lib/nrv/scratch
EXPOSE 8000
ENTRYPOINT []
CMD ["nrv", "--help"]
