FROM busybox
USER user
RUN id > /tmp/id && touch /tmp/mine
WORKDIR /made/by/user
COPY kept.txt .
USER 1234:5678
RUN id -u > /tmp/id2
USER user:users
RUN id -g > /tmp/id3
