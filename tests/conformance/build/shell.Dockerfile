FROM busybox
SHELL ["/bin/sh", "-exc"]
RUN echo shell > /x
CMD echo in shell
SHELL ["/bin/busybox", "ash", "-c"]
RUN ["echo", "exec form"]
ENTRYPOINT exec it
HEALTHCHECK CMD test -f /x
