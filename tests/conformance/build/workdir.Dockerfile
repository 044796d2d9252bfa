FROM busybox
WORKDIR rel
WORKDIR /abs
WORKDIR sub/dir
ENV D=env
WORKDIR $D/../up
RUN pwd > where
WORKDIR /
WORKDIR /tmp
RUN touch here
