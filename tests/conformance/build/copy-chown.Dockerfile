FROM busybox
COPY --chown=user:users src /a
COPY --chown=1234 src/one.txt /b
COPY --chown=55:66 --chmod=640 src/one.txt /c
COPY --chmod=755 src /d
COPY --chmod=u=rwX,go=rX modes /e
COPY --chmod=1777 src/empty /f/g/h
COPY --chown=user kept.txt /new/dir/
COPY --chown=:5 kept.txt /grp
