FROM busybox
ENV WHO=world
COPY <<EOF /hello
hello $WHO
EOF
COPY <<'EOF' /raw
raw $WHO
EOF
COPY --chmod=700 --chown=3:4 <<a <<b /many/
A
a
B
b
ADD <<-EOF /dash
	dash
	EOF
