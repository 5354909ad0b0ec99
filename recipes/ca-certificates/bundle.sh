#!/bin/sh
# Puts the certificates together in the one file that programs look for. The
# file is made beside its place and renamed, so that no program sees a part.
BUNDLE=/etc/ssl/certs/ca-certificates.crt

mkdir -p "${BUNDLE%/*}"
umask 022
for certificate in /usr/local/share/ca-certificates/mozilla/*.crt; do
    cat "$certificate"
    echo
done >"$BUNDLE.new" && mv "$BUNDLE.new" "$BUNDLE"
