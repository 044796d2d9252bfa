ARG A=busy
ARG B=${A}box
FROM ${B:-none} AS x
ARG B
ENV V=${B%box}
RUN echo "$V ${V}x" > /v
USER ${NOBODY:-nobody}
WORKDIR /${V}
STOPSIGNAL ${S:-SIGTERM}
EXPOSE ${P:-1}
VOLUME /${V}
LABEL ${V}=${B}
