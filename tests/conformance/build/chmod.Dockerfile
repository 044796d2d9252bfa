FROM busybox
COPY --chmod=1777 src/empty /a
COPY --chmod=1777 src/empty /b/
COPY --chmod=1777 src /c
COPY --chmod=1777 kept.txt /d
COPY --chmod=1777 kept.txt /e/f/
COPY --chmod=777 src/empty /f
COPY --chmod=777 src/empty /g/h/i
COPY --chmod=0700 src /h/i/
COPY --chmod=4755 bin/tool /i
COPY --chmod=u+s,g-r bin/tool /j
COPY --chmod=+t src /k
