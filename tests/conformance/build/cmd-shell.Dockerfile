FROM busybox
CMD echo hello $HOME && exit 3
ENTRYPOINT exec top -b
