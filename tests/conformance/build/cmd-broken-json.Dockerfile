FROM busybox
CMD ['single', 'quotes']
ENTRYPOINT [not json
