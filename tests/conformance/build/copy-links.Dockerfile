FROM busybox
COPY links/file /
COPY links/dir /dir
COPY links/dir/two.txt /two
COPY links/hard1 links/hard2 /h/
