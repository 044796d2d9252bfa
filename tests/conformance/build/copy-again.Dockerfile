FROM busybox
COPY src /x
COPY src /x
COPY src/one.txt /x/one.txt
RUN touch /x/two.txt; chmod 644 /x/two.txt
WORKDIR /tmp
WORKDIR /tmp
WORKDIR /
RUN true
COPY src/empty /x/empty
