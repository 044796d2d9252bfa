FROM busybox
ENTRYPOINT ["/bin/sh", "-c", "echo \"quoted\" \u00e9"]
CMD ["a", "b c"]
