# syntax=docker/dockerfile:1

FROM rust:1-slim-bookworm AS build
WORKDIR /bazar
COPY . .
# The caches keep what was downloaded and compiled between two builds, so that only what changed is compiled again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/bazar/target \
    cargo build --locked --release && cp target/release/bazar /usr/local/bin/bazar

FROM debian:bookworm-slim
# The folder's owner is what a new volume takes over.
RUN useradd --system --uid 10001 bazar && install -d -o bazar -g bazar /data
WORKDIR /bazar
COPY catalog.csv ./
COPY config/ config/
COPY --from=build /usr/local/bin/bazar /usr/local/bin/bazar
USER bazar
VOLUME /data
ENTRYPOINT ["bazar"]
CMD ["--help"]
