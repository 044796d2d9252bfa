# escape=`
FROM busybox
RUN echo one `
  two > /escaped
ENV P=C:\dir Q="a`"b"
COPY kept.txt /back\slash
