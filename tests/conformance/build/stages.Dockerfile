# build: --target wanted
FROM busybox AS unused
RUN exit 1
FROM busybox AS Base
RUN echo base > /base
FROM base AS wanted
RUN echo wanted > /wanted
FROM wanted
RUN exit 1
