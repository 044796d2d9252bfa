FROM busybox AS build
RUN mkdir -p /out/a && echo a > /out/a/f && ln -s a/f /out/l && ln /out/a/f /out/hard && chown -R 9:9 /out && chmod 2755 /out/a
FROM scratch AS mid
COPY --from=build /out /
FROM scratch
COPY --from=mid / /root/
COPY --from=0 /out/l /copied
COPY --from=build /out/a/f /out/hard /two/
COPY --from=busybox /bin/busybox /bin/sh
