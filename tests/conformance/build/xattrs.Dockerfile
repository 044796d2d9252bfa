# differs: Docker's graph drivers write no attributes into layers but security.capability
FROM busybox AS from
ADD caps.tar /
RUN cp -a /prog /prog2
FROM busybox
COPY --from=from /prog /copied
COPY --from=from --chown=5 /prog /owned
