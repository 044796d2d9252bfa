FROM busybox
HEALTHCHECK --interval=5m --timeout=3s CMD ["/bin/check", "\"it\""]
