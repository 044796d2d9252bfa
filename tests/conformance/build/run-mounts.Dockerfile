# build: --secret id=token,src=kept.txt --secret id=env,env=HOME
# differs: a directory in which there was a mount point is in no layer of dhow's
FROM busybox AS from
RUN mkdir -p /out/sub && echo out > /out/sub/file
FROM busybox
RUN --mount=type=bind,target=/ctx ls -A /ctx/src > /list && echo x > /ctx/x 2>/err; true
RUN --mount=type=bind,source=src,target=/m,rw echo changed > /m/one.txt && cat /m/one.txt > /changed
RUN --mount=from=from,source=/out/sub,target=/mnt/deep/er cat /mnt/deep/er/file > /file
RUN --mount=type=cache,target=/cache,id=corpus,uid=3,gid=4,mode=0711 stat -c '%u %g %a' /cache > /cachestat; echo c > /cache/c
RUN --mount=type=cache,target=/cache,id=corpus,ro,sharing=locked ls /cache > /cachelist
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t | tail -1 | awk '{print $1,$2}' > /tmpfs
RUN --mount=type=secret,id=token cat /run/secrets/token > /secret; stat -c '%u %g %a' /run/secrets/token > /secstat
RUN --mount=type=secret,id=env,env=SECRET,target=/s,mode=0444,uid=9 test -n "$SECRET" && stat -c '%u %a' /s > /secstat2
RUN --mount=type=secret,id=missing ls /run/secrets/missing > /nosecret 2>&1; true
RUN --network=none ip link | grep -c eth0 > /links; true
