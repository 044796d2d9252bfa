FROM busybox
MAINTAINER Some One <one@example.com>
