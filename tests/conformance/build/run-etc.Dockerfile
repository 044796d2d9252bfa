FROM busybox
RUN echo more >> /etc/hosts; echo x > /etc/resolv.conf; ls -l /etc/hostname /etc/hosts /etc/resolv.conf | wc -l > /n
RUN echo mine > /etc/hostname
