#!/bin/sh
# Puts the certificates together in the one file that programs look for. The
# file is made beside its place and renamed, so that no program sees a part.
BUNDLE=/etc/ssl/certs/ca-certificates.crt

mkdir -p "${BUNDLE%/*}"
umask 022
# One program for all: a boot waits for this. Each ends with a line end, whether
# its file does or not.
awk 1 /usr/local/share/ca-certificates/mozilla/*.crt >"$BUNDLE.new" && mv "$BUNDLE.new" "$BUNDLE"
