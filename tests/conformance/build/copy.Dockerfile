FROM busybox
COPY kept.txt /
COPY kept.txt /renamed
COPY kept.txt /dir/
COPY src/one.txt src/two.txt /many/
COPY src /src
COPY src/ /src2/
COPY src/*.txt /wild/
COPY src/?ne.txt src/[t]wo.txt /wild2/
COPY ["with space/a file", "/with space/"]
COPY [[]bracket].txt /br/
COPY . /all/
COPY bin/tool /usr/bin/
COPY data /data
COPY modes /modes
COPY links /links
