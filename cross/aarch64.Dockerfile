# What it takes to build Porthole for 64-bit ARM beside Rust, which cross brings from the host: a C compiler for it,
# one for the build scripts, and CMake for libjpeg-turbo, whose vector code needs nothing more than GCC on ARM.
FROM docker.io/library/debian:bookworm-20250520-slim

RUN apt-get update && \
    apt-get install --assume-yes --no-install-recommends \
        cmake gcc g++-aarch64-linux-gnu libc6-dev libc6-dev-arm64-cross make && \
    rm -rf /var/lib/apt/lists/*

ENV AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar \
    CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc \
    CXX_aarch64_unknown_linux_gnu=aarch64-linux-gnu-g++ \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
