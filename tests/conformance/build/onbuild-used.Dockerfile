FROM busybox AS base
ONBUILD ARG X=1
ONBUILD RUN echo triggered $X > /triggered
ONBUILD WORKDIR /on
FROM base
RUN echo after > /after
