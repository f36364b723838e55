# shellcheck shell=bash
# Building images in a store of one's own that goes when the script ends: the machine's store is not ours to fill.

# private_storage: makes $work, to be called once.
private_storage() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/weighbridge-image-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/tmp"
}

# store buildah SUBCOMMAND ARGUMENT…: runs it on that store.
store() {
  shift
  local subcommand=$1; shift
  TMPDIR=$work/tmp buildah --root "$work/root" --runroot "$work/runroot" --storage-driver vfs "$subcommand" "$@"
}

# build_image TAG CONTEXT DOCKERFILE [ARGUMENT…]
# A timestamp that is always the same, so that what is the same has the same digest.
build_image() {
  local tag=$1 context=$2 dockerfile=$3; shift 3
  store buildah bud --quiet --isolation chroot --timestamp 0 --tag "$tag" --file "$dockerfile" "$@" "$context" >/dev/null
}
