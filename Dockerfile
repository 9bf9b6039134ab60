# The package, the book's sources and their environment, with every version and hash of requirements.lock. For the CPU:
#   docker build -t geoguide .
# For an NVIDIA GPU: torch's build for CUDA comes from the package index itself, and the extra brings sparse convolutions:
#   docker build -t geoguide-cuda --build-arg TORCH_INDEX= --build-arg EXTRAS=cuda .
# Then, with the folders of data and results outside:
#   docker run -it --rm -v "$PWD/data:/geoguide/data" geoguide bash      (of the CUDA image: --gpus all)
#   docker run --rm -v "$PWD/html:/geoguide/book/_build" geoguide make book
# The tests have no Docker and do not build it; they check that what is copied and called here exists. The CPU image was
# built with buildah on Debian's own Python 3.11 in place of the base image, which could not be fetched: 2.8 GB; lint,
# tests of the environment and `geoguide segment` ran in it.
FROM python:3.11-slim-bookworm AS base
RUN apt-get update && apt-get install -y --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 geoguide && mkdir /geoguide && chown geoguide /geoguide
WORKDIR /geoguide
USER geoguide

FROM base
# An index of CPU builds of torch beside the package index; empty: the package index alone.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=
ENV PIP_NO_CACHE_DIR=1 PATH=/geoguide/.venv/bin:$PATH
# What decides the environment comes first: a change of anything else does not install it again.
COPY --chown=geoguide pyproject.toml constraints.txt requirements.lock Makefile README.md LICENSE ./
COPY --chown=geoguide geoguide/__init__.py geoguide/__init__.py
RUN make setup LOCKED=1 PIP_ARGS="${TORCH_INDEX:+--extra-index-url ${TORCH_INDEX}}" \
    && if [ -n "${EXTRAS}" ]; then python -m pip install -c constraints.txt -e ".[${EXTRAS}]"; fi
COPY --chown=geoguide . .
CMD ["geoguide", "--help"]
