# The context of all Dockerfiles here, made in the current directory.
set -e
umask 022
mkdir -p src/deep/er src/empty bin data links modes
echo one > src/one.txt; echo two > src/two.txt; echo go > src/main.go; echo log > src/x.log
echo deep > src/deep/er/file.go; echo d > src/deep/d.txt
printf '#!/bin/sh\necho tool "$@"\n' > bin/tool; chmod 755 bin/tool
printf 'a\0b' > data/binary; : > data/nothing; truncate -s 100000 data/hole
ln -s ../src/one.txt links/file; ln -s ../src links/dir; ln -s /etc/passwd links/absolute; ln -s nowhere links/dangling
echo h > links/hard1; ln links/hard1 links/hard2
echo m > modes/suid; chmod 4755 modes/suid; echo m > modes/ro; chmod 400 modes/ro; mkdir modes/sticky; chmod 1777 modes/sticky
mkdir 'with space'; echo s > 'with space/a file'; echo b > '[bracket].txt'
echo ignored > ignored.txt; echo kept > kept.txt; mkdir node_modules; echo n > node_modules/n
printf '# those\nignored.txt\nnode_modules\n**/*.log\n!src/keep.log\n' > .dockerignore; echo k > src/keep.log
mkdir t && echo t1 > t/a && mkdir t/sub && echo t2 > t/sub/b && chmod 700 t/sub && ln -s a t/l
touch -d @1600000000 t/a t/sub/b t/sub t
tar --sort=name --owner=7 --group=8 --numeric-owner -cf plain.tar t
gzip -nk plain.tar; bzip2 -k plain.tar; xz -k plain.tar; zstd -q plain.tar
mkdir x && cp bin/tool x/prog && setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 x/prog
setfattr -n user.note -v kept x/prog; setfattr -n trusted.note -v kept x/prog
tar --xattrs --xattrs-include='*' --owner=0 --group=0 -C x -cf caps.tar prog; rm -r x
rm -r t; echo 'no archive' > fake.tar
mkdir -p more/x; echo more > more/x/file; echo top > more/top
find . -exec touch -h -d @1500000000 {} +
