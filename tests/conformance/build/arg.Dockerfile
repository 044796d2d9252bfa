# build: --build-arg FROM_CLI=cli --build-arg DEFAULTED=over --build-arg UNUSED_HERE=1 --build-arg HTTP_PROXY=http://proxy:1
ARG BASE=busybox
ARG GLOBAL=global
FROM ${BASE} AS a
ARG FROM_CLI
ARG DEFAULTED=default
ARG EMPTY
ARG GLOBAL
ARG QUOTED="with space" TWO=2
RUN echo "$FROM_CLI-$DEFAULTED-$EMPTY-$GLOBAL-$QUOTED-$TWO" > /args
ENV FROM_ARG=$FROM_CLI
ARG LATE=${FROM_ARG}-late
RUN echo $LATE > /late
LABEL late=$LATE
