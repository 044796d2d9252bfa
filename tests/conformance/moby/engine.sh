#!/bin/sh
# engine.sh COMMAND...: runs COMMAND beside an engine of its own, in namespaces that stand for its host. Called by
#   unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private engine.sh COMMAND...
# DHOW: the program; SOURCE: moby's tree; WORK: an empty directory (all is beneath it); IMAGES: as made by images.sh; TOOLS: a directory with
# docker, dockerd (beside this), and perhaps docker-buildx and registry.
# What follows is not for a machine's own namespaces.
test $$ = 1 || { echo "$0: not the first process of a namespace" >&2; exit 96; }
ip link set lo up
# An address that is not one of a container: tests ask which is used to go to hub.docker.com.
ip link add eth0 type veth peer name eth0-peer && ip link set eth0-peer up && ip link set eth0 up && ip addr add 192.0.2.1/24 dev eth0
ip addr add 2001:db8:abcd::1/64 dev eth0 nodad
# As on any machine with systemd; in a mount namespace of its own.
mount --make-rshared /
mkdir -p "$WORK/home" "$WORK/tmp" "$WORK/dest/all" "$WORK/etc" "$WORK/root"
# What belongs to the tests is looked for from there.
ln -s "$SOURCE/integration" "$WORK/integration"
mount -t tmpfs tmpfs /run && mkdir -p /run/netns /run/lock || exit 99
mount -t tmpfs tmpfs "$WORK/etc" && mkdir "$WORK/etc/upper" "$WORK/etc/work" || exit 99
mount -t overlay etc -o "lowerdir=/etc,upperdir=$WORK/etc/upper,workdir=$WORK/etc/work" /etc || exit 99
rm -rf /etc/docker /etc/dhow
echo 192.0.2.1 hub.docker.com >> /etc/hosts
case "$1" in */networking.test) busybox httpd -p 192.0.2.1:80 -h "$WORK/home";; esac
grep -q dockremap /etc/subuid || echo dockremap:500000:65536 >> /etc/subuid
grep -q dockremap /etc/subgid || echo dockremap:500000:65536 >> /etc/subgid
grep -q dockremap /etc/passwd || echo dockremap:x:500:500::/nonexistent:/bin/false >> /etc/passwd
grep -q dockremap /etc/group || echo dockremap:x:500: >> /etc/group
grep -q unprivilegeduser /etc/passwd || echo unprivilegeduser:x:1042:1042::/tmp:/bin/sh >> /etc/passwd
grep -q unprivilegeduser /etc/shadow || echo 'unprivilegeduser:*:19000:0:99999:7:::' >> /etc/shadow
export DOCKER_FIREWALL_BACKEND=nftables
# Images are nearer to those of containerd's store: descriptors, several platforms, digests of all, times in archives.
export TEST_INTEGRATION_USE_SNAPSHOTTER=1
export HOME="$WORK/home" TMPDIR="$WORK/tmp" DOCKER_INTEGRATION_DAEMON_DEST="$WORK/dest/all" DEST="$WORK/dest/all"
export PATH="$TOOLS:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
unset DOCKER_HOST DOCKER_CONFIG
if test -e "$TOOLS/docker-buildx"; then
    mkdir -p "$HOME/.docker/cli-plugins" && ln -s "$TOOLS/docker-buildx" "$HOME/.docker/cli-plugins/docker-buildx"
fi
engine() { DHOW_ROOT="$WORK/root" DHOW_STATE=/run/dhow "$@"; }
debian="$IMAGES/busybox.tar"
test -z "$DEBIAN" || debian="$IMAGES/debian.tar"
import() { engine "$DHOW" import "$@" >/dev/null || exit 98; }
path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
import --change "$path" --change 'CMD ["sh"]' "$IMAGES/busybox.tar" busybox:latest
import --change "$path" --change 'CMD ["sh"]' "$IMAGES/busybox.tar" busybox:glibc
import --change "$path" --change 'CMD ["bash"]' "$debian" debian:bookworm-slim
import --change "$path" --change 'CMD ["/hello"]' "$IMAGES/hello.tar" hello-world:frozen
import --change "$path" --change 'CMD ["/hello"]' "$IMAGES/hello.tar" hello-world:amd64
import --change "$path" --change 'CMD ["/hello"]' --platform linux/arm64 "$IMAGES/hello-arm64.tar" hello-world:arm64
import --change "$path" --change 'CMD ["/hello"]' --platform linux/arm/v7 "$IMAGES/hello-arm64.tar" arm32v7/hello-world:latest
engine "$DHOW" daemon --listen unix:///run/docker.sock >"$WORK/daemon.log" 2>&1 &
for again in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    test -S /run/docker.sock && break
    sleep 0.1
done
test -S /run/docker.sock || { cat "$WORK/daemon.log"; exit 97; }
"$@"
code=$?
# What is frozen does not end with its namespaces.
for root in "$WORK/root" $(cat "$WORK/roots" 2>/dev/null); do
    name=dhow-$(printf %s "$root" | sha256sum | cut -c1-8)
    for group in $(find "/sys/fs/cgroup/freezer/$name" -name freezer.state 2>/dev/null); do echo THAWED >"$group"; done
    for group in $(find "/sys/fs/cgroup/$name" -name cgroup.freeze 2>/dev/null); do echo 0 >"$group"; done
done
exit $code
