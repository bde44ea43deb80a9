# syntax=docker/dockerfile:1
# The image: the program, what it links to, CA roots, a user without rights. For several machines at once:
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg GIT_COMMIT=$(git rev-parse HEAD) -t REGISTRY/transom:TAG --push .
# The compiler runs on the machine that builds and compiles across, so nothing is emulated.

FROM --platform=$BUILDPLATFORM rust:1-bookworm AS build
ARG TARGETARCH
RUN <<END
set -eu
case "$TARGETARCH" in
  amd64) target=x86_64-unknown-linux-gnu compiler=x86-64-linux-gnu ;;
  arm64) target=aarch64-unknown-linux-gnu compiler=aarch64-linux-gnu ;;
  *) echo "not built for $TARGETARCH: amd64 and arm64 are" >&2; exit 1 ;;
esac
packages="cmake libcap2-bin"
if [ "$TARGETARCH" != "$(dpkg --print-architecture)" ]; then
  packages="$packages gcc-$compiler g++-$compiler libc6-dev-$TARGETARCH-cross"
fi
apt-get update
apt-get install -y --no-install-recommends $packages
rm -rf /var/lib/apt/lists/*
rustup target add "$target"
# a program that compiles for the target has the same name where that is this machine
prefix=$(echo "$target" | sed 's/-unknown//')
variable=$(echo "$target" | tr a-z- A-Z_)
cat >/build.env <<ENV
export CARGO_BUILD_TARGET=$target
export CARGO_TARGET_${variable}_LINKER=$prefix-gcc
export CC_$(echo "$target" | tr - _)=$prefix-gcc
export CXX_$(echo "$target" | tr - _)=$prefix-g++
ENV
END
WORKDIR /transom
COPY . .
# shown by `transom version`; the repository itself is not in the build
ARG GIT_COMMIT=
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,id=target-$TARGETARCH,target=/transom/target <<END
set -eu
. /build.env
if [ "$TARGETARCH" = "$(dpkg --print-architecture)" ]; then
  # what runs here can be watched: it is laid out by what it was seen to run
  unset CARGO_BUILD_TARGET
  apt-get update
  apt-get install -y --no-install-recommends python3
  tools/release.sh
  cp target/bolt/transom /usr/bin/transom
else
  cargo build --release --locked --bin transom
  cp "target/$CARGO_BUILD_TARGET/release/transom" /usr/bin/transom
fi
# permitted, not effective: the program raises it for a port below 1024, and starts where the pod does not grant it
setcap cap_net_bind_service=+p /usr/bin/transom
END

# glibc, libgcc, CA roots; no shell
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/bin/transom /usr/bin/transom
USER 65532:65532
ENTRYPOINT ["/usr/bin/transom"]
