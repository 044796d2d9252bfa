FROM scratch
COPY kept.txt /
