FROM busybox
HEALTHCHECK --interval=1m30s --timeout=2s --start-period=500ms --start-interval=3s --retries=39 CMD wget -q localhost || exit 1
