FROM busybox
RUN mkdir -p /x/t/sub && echo old > /x/t/a && ln -s /tmp /x/link
ADD plain.tar /x
ADD plain.tar.gz /new.dir
COPY plain.tar /x/
COPY --chmod=0600 src /x/link
