FROM busybox
ADD kept.txt /
ADD plain.tar /tar/
ADD plain.tar.gz /gz/
ADD plain.tar.bz2 /bz/
ADD fake.tar /fake/
ADD --chown=11:12 plain.tar /owned/
ADD --unpack=false plain.tar /raw/
ADD src /src
