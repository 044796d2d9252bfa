# build: --label cli=yes --label over=cli
FROM busybox
LABEL one=1 "two words"="a b" multi="line one \
line two" over=file
LABEL old style value
LABEL quote="say \"hi\"" single='$HOME' empty=
