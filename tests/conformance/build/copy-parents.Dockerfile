# differs: Docker 28 has --parents only with the front end of docker/dockerfile:1-labs
FROM busybox
COPY --parents src/deep/er/file.go /c/
COPY --parents src/**/*.go /d/
COPY --parents src/./deep/er /e/
