# What it takes to build Porthole for 32-bit ARMv7 beside Rust, which cross brings from the host: a C compiler for it,
# one for the build scripts, and CMake for libjpeg-turbo, whose vector code needs nothing more than GCC on ARM.
FROM docker.io/library/debian:bookworm-20250520-slim

RUN apt-get update && \
    apt-get install --assume-yes --no-install-recommends \
        cmake gcc g++-arm-linux-gnueabihf libc6-dev libc6-dev-armhf-cross make && \
    rm -rf /var/lib/apt/lists/*

ENV AR_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-ar \
    CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc \
    CXX_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-g++ \
    CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc
