#!/bin/sh -e
# WGET: a static busybox whose wget is taken (sid's busybox-static, 1.38): that of Debian 12 ends in a segmentation fault at
# `wget -T`, while the chown of 1.38 does not know `user.group` any more, which the tests of builds write.
# NC: netcat-openbsd's program, for `nc -u`, which Debian's busybox has not.
# images.sh DIRECTORY: the root file systems of the stand-ins for the frozen images: busybox.tar (of Debian's
# busybox-static), hello.tar and hello-arm64.tar (one file each), debian.tar (mmdebstrap; without it, busybox's).
mkdir -p "$1" && cd "$1"
if ! test -f busybox.tar; then
rm -rf rootfs && mkdir rootfs && cd rootfs
mkdir -p bin dev etc home lib lib64 root tmp usr/bin usr/sbin var/spool/mail var/www
chmod 1777 tmp; chmod 700 root; chown 65534:65534 home
cp "$(command -v busybox)" bin/busybox
test -z "$WGET" || cp "$WGET" bin/wget
for applet in $(busybox --list); do test -e "bin/$applet" || ln bin/busybox "bin/$applet"; done
ln -s ../../bin/env usr/bin/env
if test -n "$NC"; then
    cp "$NC" bin/nc.openbsd && rm bin/nc
    for library in $(ldd "$NC" | grep -o '/lib[^ ]*'); do mkdir -p ".$(dirname $library)" && cp -L $library .$library; done
    cat > bin/nc <<'END'
#!/bin/sh
# With -6 it listens for both families, as busybox's own does.
for arg; do case $arg in -*l*u* | -*u*l*) exec nc.openbsd -6 "$@";; -*u*) exec nc.openbsd "$@";; esac; done
exec busybox nc "$@"
END
    chmod +x bin/nc
fi
cat > etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
END
cat > etc/group <<'END'
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
lp:x:7:
mail:x:8:
kmem:x:9:
wheel:x:10:root
cdrom:x:11:
dialout:x:18:
floppy:x:19:
video:x:28:
audio:x:29:
tape:x:32:
www-data:x:33:
operator:x:37:
utmp:x:43:
plugdev:x:46:
staff:x:50:
lock:x:54:
netdev:x:82:
users:x:100:
nobody:x:65534:
END
# Which Debian's busybox has not: as far as the tests need them (-g GID NAME; -D -u UID -G GROUP NAME).
cat > bin/addgroup <<'END'
#!/bin/sh
while getopts g:S o; do case $o in g) gid=$OPTARG;; esac; done
shift $((OPTIND - 1))
echo "$1:x:${gid:-1000}:" >> /etc/group
END
cat > bin/adduser <<'END'
#!/bin/sh
while getopts Du:G:h:s:SH o; do case $o in u) uid=$OPTARG;; G) group=$OPTARG;; H) bare=1;; esac; done
shift $((OPTIND - 1))
uid=${uid:-1000}
test -n "$group" || { group=$1; echo "$1:x:$uid:" >> /etc/group; }
gid=$(grep "^$group:" /etc/group | cut -d: -f3)
echo "$1:x:$uid:$gid::/home/$1:/bin/sh" >> /etc/passwd
test -n "$bare" || { mkdir -p "/home/$1" && chown "$uid:$gid" "/home/$1"; }
END
chmod +x bin/addgroup bin/adduser
tar --sort=name --numeric-owner -cf ../busybox.tar.new . && cd .. && rm -rf rootfs
mv busybox.tar.new busybox.tar
fi
if ! test -f hello.tar; then
mkdir -p hello && printf '%s\n' 'int puts(const char *); int main(void) { puts("\nHello from Docker!"); return 0; }' > hello.c
gcc -static -Os -s -o hello/hello hello.c && tar -C hello -cf hello.tar hello
echo arm64 >> hello/hello && tar -C hello -cf hello-arm64.tar hello
fi
if ! test -f debian.tar && command -v mmdebstrap >/dev/null; then
mmdebstrap --quiet --variant=minbase --mode=root --aptopt='Acquire::Check-Valid-Until "false"' \
    --customize-hook='rm -rf "$1"/usr/share/doc "$1"/usr/share/man "$1"/usr/share/locale "$1"/var/cache/apt "$1"/var/lib/apt' \
    bookworm new.tar && mv new.tar debian.tar
fi
