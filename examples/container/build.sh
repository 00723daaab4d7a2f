#!/usr/bin/env bash
# Build the image of the Containerfile into the OCI layout given, without a daemon or a registry: as root, with mmdebstrap and buildah.
# More arguments go to `buildah build`. Layers are kept in the folder $STORAGE, if there is one, and not built again where nothing changed.
set -euo pipefail
target=$(realpath -m "$1")
shift
cd "$(dirname "$0")"
work=$(mktemp -d)
kept=${STORAGE:-$work/storage}
storage=(--root "$kept/root" --runroot "$kept/runroot" --storage-driver overlay)
trap '[ -n "${STORAGE-}" ] || buildah "${storage[@]}" rm --all >/dev/null; rm -rf "$work"' EXIT

# What Docker Hub calls debian:bookworm: there, too, apt keeps no archives.
clean='DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };'
if ! buildah "${storage[@]}" inspect --type image docker.io/library/debian:bookworm >/dev/null 2>&1; then
  mmdebstrap --variant=minbase --include=ca-certificates --customize-hook="echo '$clean' >\"\$1/etc/apt/apt.conf.d/docker-clean\"" \
    bookworm "$work/base.tar"
  base=$(buildah "${storage[@]}" from scratch)
  buildah "${storage[@]}" add --quiet "$base" "$work/base.tar" / >/dev/null
  buildah "${storage[@]}" config --cmd bash --created-by "debian.sh --arch amd64 bookworm" "$base"
  buildah "${storage[@]}" commit --rm --quiet "$base" docker.io/library/debian:bookworm
  rm "$work/base.tar"
fi

# The build context: this folder, and of hatch-mlbundle what runs in applications.
mkdir -p "$work/context/mlbundle/hatch_mlbundle"
cp -r Containerfile requirements.txt similar "$work/context"
cp -r ../../hatch_mlbundle/__init__.py ../../hatch_mlbundle/runtime "$work/context/mlbundle/hatch_mlbundle"
find "$work/context" -name __pycache__ -prune -exec rm -r {} +

buildah "${storage[@]}" build --isolation chroot --layers --pull=never --tag example "$@" "$work/context"
buildah "${storage[@]}" push --quiet example "oci:$target:example"
