# differs: Docker asks a program xz, which Debian's package does not bring along
FROM busybox
ADD plain.tar.xz /xz/
