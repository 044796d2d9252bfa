# differs: overlay2 marks a directory in the place of another as opaque; dhow names what that hides
FROM busybox
RUN echo one \
  # a comment inside
  && echo two \
  && mkdir -p /a/b
RUN ["/bin/sh", "-c", "echo \"exec\" > /a/exec"]
RUN true
RUN rm -r /a/b && rm /a/exec
RUN mkdir /etc2 && echo x > /etc2/x
RUN rm -rf /etc2 && mkdir -m 700 /etc2 && echo new > /etc2/new
RUN cp -p /bin/busybox /copy && chmod 4711 /copy && chown 5:6 /copy && ln /copy /hard && ln -s copy /soft
RUN mkfifo /fifo; mknod /null c 1 3; touch -d '2001-02-03 04:05:06' /old
RUN mv /a /moved && mv /moved/../etc2 /etc3
