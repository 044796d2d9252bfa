# differs: overlay2 marks a directory in the place of another as opaque; dhow names what that hides
FROM busybox
COPY src /x
RUN rm -r /x/deep && echo new > /x/one.txt
COPY more /x
COPY kept.txt /x/deep
RUN rm -rf /x && mkdir /x && touch /x/only
COPY src/one.txt /x/
RUN mv /x /y
