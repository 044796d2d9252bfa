#!/bin/sh -e
# build.sh SOURCE BIN: compiles the test programs of moby's source tree into BIN.
# GO: a Go of 1.24 or later. Nothing is fetched: the tree has its vendor directory.
source=$1 bin=$2
GO=${GO:-go}
cd "$source"
test -f go.mod || { cp vendor.mod go.mod && cp vendor.sum go.sum; }
export GOFLAGS=-mod=vendor CGO_ENABLED=0 GOTOOLCHAIN=local GO111MODULE=on
mkdir -p "$bin"
for package in ${PACKAGES:-networking network network/bridge network/ipvlan network/macvlan container image volume system build session capabilities cli}; do
    name=$(echo "$package" | tr / -)
    directory=./integration/$package
    test "$package" != cli || directory=./integration-cli
    test -x "$bin/$name.test" || $GO test -p "${JOBS:-1}" -vet=off -c -o "$bin/$name.test" "$directory"
done
