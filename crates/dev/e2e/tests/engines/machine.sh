# Makes the root of a test's machine and becomes its process 1. In new mount, network, pid, cgroup,
# uts and ipc namespaces: machine.sh DEBIAN WORK RUNTIME UNPACKED
set -e
debian=$1 work=$2 runtime=$3 unpacked=$4
root=$work/root
mount -t overlay -o "lowerdir=$debian,upperdir=$work/upper,workdir=$work/overlay" machine "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"

# The trees of the host, from the cgroup of the test on down: that is their root here.
sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - \(cgroup2*\) [^ ]* \(.*\)$/\1 \2 \3/p' \
  /proc/self/mountinfo | grep "^/sys/fs/cgroup.* cgroup" > "$work/trees"
if grep -q "^/sys/fs/cgroup cgroup2 " "$work/trees"; then
  mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
  # A cgroup that has processes of its own gives no controllers to those below it.
  mkdir "$root/sys/fs/cgroup/init"
  for pid in $(cat "$root/sys/fs/cgroup/cgroup.procs"); do
    echo "$pid" > "$root/sys/fs/cgroup/init/cgroup.procs"
  done
  for controller in $(cat "$root/sys/fs/cgroup/cgroup.controllers"); do
    echo "+$controller" > "$root/sys/fs/cgroup/cgroup.subtree_control"
  done
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  while read -r point kind options; do
    tree=$root/sys/fs/cgroup/${point##*/}
    mkdir -p "$tree"
    mount -t "$kind" -o "${options#rw,}" cgroup "$tree" 2>/dev/null || mount -t "$kind" cgroup "$tree"
  done < "$work/trees"
fi

mount -t tmpfs -o mode=755 tmpfs "$root/dev"
while read -r name kind major minor; do
  mknod -m 666 "$root/dev/$name" "$kind" "$major" "$minor"
done <<DEVICES
null c 1 3
zero c 1 5
full c 1 7
random c 1 8
urandom c 1 9
tty c 5 0
fuse c 10 229
DEVICES
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t mqueue mqueue "$root/dev/mqueue"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for place in dev/shm run tmp; do mount -t tmpfs -o mode=1777 tmpfs "$root/$place"; done

# What the engines keep cannot be in an overlay: they make their own in there.
for place in docker containers containerd; do
  mkdir -p "$root/var/lib/$place" "$work/lib/$place"
  mount --bind "$work/lib/$place" "$root/var/lib/$place"
done
touch "$root/usr/local/bin/dhow-runtime"
mount --bind "$runtime" "$root/usr/local/bin/dhow-runtime"
# A criu for kernels that are too new for that of the packages.
if [ -x "$unpacked/usr/bin/criu" ]; then
  mkdir -p "$root/unpacked"
  mount --bind "$unpacked" "$root/unpacked"
  ln -s /unpacked/usr/bin/criu "$root/usr/local/bin/criu"
fi
mkdir -p "$root/image"
mount --bind "$work/image" "$root/image"

cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
ip link set lo up
echo ready
# Process 1, which outlives every signal from in here. The zombies of daemons are its children.
exec bash -c 'read -r line'
