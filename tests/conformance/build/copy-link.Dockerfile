# differs: Docker's graph drivers leave a directory that is there as it is; a layer of its own brings its look along
FROM busybox
COPY --link kept.txt /etc/kept
COPY --link --chown=1:1 --chmod=600 src /opt/src/
COPY --link --from=busybox /etc/passwd /pw
ADD --link plain.tar /opt/
WORKDIR /made
COPY --link kept.txt rel/
RUN rm -r /opt/src
