# build: --build-arg SOURCE_DATE_EPOCH=1400000000
FROM busybox
RUN echo x > /x
COPY src /src
WORKDIR /w
