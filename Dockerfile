# One static binary in an empty image. The build stage ends with what the image needs in known places, /weighbridge and
# the CA certificates, so that any image with these two can stand in for it (--build-context build=…).
FROM docker.io/library/rust:1.95 AS build
WORKDIR /src
COPY . .
# Static, on glibc; --target keeps the flag away from build scripts and proc macros, which are linked dynamically.
RUN target="$(uname -m)-unknown-linux-gnu" \
 && RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --package weighbridge --target "$target" \
 && cp "target/$target/release/weighbridge" /weighbridge

FROM scratch
COPY --from=build /weighbridge /weighbridge
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
USER 65532:65532
ENTRYPOINT ["/weighbridge"]
