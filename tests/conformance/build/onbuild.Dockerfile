FROM busybox
ONBUILD RUN echo on > /onbuild
ONBUILD COPY --chown=1:2 src /src
ONBUILD ENV A="b c"
