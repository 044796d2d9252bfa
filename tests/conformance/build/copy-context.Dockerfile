# build: --build-context named=more --build-context alt=docker-image://busybox
FROM alt
COPY --from=named . /named/
COPY --from=named x/file /one
RUN --mount=from=named,target=/n cat /n/top > /top
