FROM busybox
VOLUME /data
VOLUME ["/a b", "/c"]
VOLUME /d /e
RUN mkdir -p /data && echo x > /data/file
COPY kept.txt /data/
