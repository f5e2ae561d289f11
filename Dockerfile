# For those who have Docker: docker build --target controller -t …, and the same with --target speaker.
# `make images` makes the same two images without it.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG TARGETARCH
ARG VERSION=v0.1.0
ARG COMMIT=
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -o /out/ \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$VERSION -X k8s.io/component-base/version.gitCommit=$COMMIT" \
    ./cmd/l2-cloud-controller-manager ./cmd/l2-speaker

FROM debian:bookworm-slim AS busybox
RUN apt-get update && apt-get install -y --no-install-recommends busybox-static \
    && mkdir -p /box/bin /box/usr/share/doc/busybox-static \
    && cp /bin/busybox /box/bin/ && cp /usr/share/doc/busybox-static/copyright /box/usr/share/doc/busybox-static/ \
    && for applet in $(/bin/busybox --list); do [ "$applet" = busybox ] || ln -s busybox "/box/bin/$applet"; done

FROM scratch AS controller
COPY --from=build /out/l2-cloud-controller-manager /
USER 65532:65532
ENTRYPOINT ["/l2-cloud-controller-manager"]

FROM scratch AS speaker
COPY --from=busybox /box/ /
COPY --from=build /out/l2-speaker /
ENV PATH=/bin:/
USER 0:0
ENTRYPOINT ["/l2-speaker"]
