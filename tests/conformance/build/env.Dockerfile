FROM busybox
ENV A=1 B="two words" C=three\ words D='single $A' E=${A}x
ENV OLD form with  spaces
ENV F=${A:-unset} G=${NOPE:-default} H=${NOPE-dash} I=${A:+plus} J=${NOPE+no}
ENV K=$A$B L="$A" M=\$A
ENV P=/a/b/c.tar.gz
ENV P1=${P#*/} P2=${P##*/} P3=${P%.*} P4=${P%%.*} P5=${P/b/X} P6=${P//[ac]/Y}
ENV PATH=/opt/bin:$PATH
RUN env | sort | grep -v -e HOSTNAME -e HOME > /env
