FROM busybox
COPY --exclude=*.txt src /a
COPY --exclude=deep --exclude=**/*.go src/ /b/
ADD --exclude=two.txt src /c
