FROM busybox
RUN <<EOF
echo first
echo $HOME > /home
mkdir /d
EOF
RUN <<-"EOF" cat > /quoted
	tabs $HOME are stripped
	EOF
RUN <<FILE1 cat > /f1 && <<FILE2 cat > /f2
one
FILE1
two
FILE2
RUN <<EOF
#!/bin/cat
this is printed
EOF
