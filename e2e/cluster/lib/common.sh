# shellcheck shell=bash
# What every script of this folder shares. To be sourced after `set -euo pipefail`.

# shellcheck disable=SC2034  # These are used by the scripts that source this.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${WEIGHBRIDGE_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weighbridge-e2e}
runs=${WEIGHBRIDGE_E2E_RUN:-/tmp/weighbridge-e2e}

# From 198.18.0.0/15, which RFC 2544 keeps for tests: no real network that a machine may be in has them.
node_address=198.18.0.1
pod_network=198.18.1.0/24
service_network=198.19.0.0/20
api_service=198.19.0.1
node_name=node-1
registry=$node_address:5000

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$@"; exit 1; }

# The name ends up in paths, in a control group and, by the path of a socket, within 108 bytes.
check_name() {
  [[ $1 =~ ^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$ ]] ||
    die "a cluster's name is 1 to 24 of a-z, 0-9 and - (within): not '$1'"
}

require_root() { [ "$(id -u)" = 0 ] || die "namespaces, mounts and control groups need root"; }

# within SECONDS COMMAND…: tries until the command succeeds; false at the deadline.
within() {
  local deadline=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# A process id alone says nothing once the process is gone and its id given to another: with the time that it was
# started at (in ticks since boot; the 20th field behind the name, which may itself hold spaces) it does.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # shellcheck disable=SC2086  # Fields are to be split.
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}

# record_process FILE PID
record_process() { echo "$2 $(started_at "$2")" >"$1"; }

# live_process FILE: prints the id of the recorded process if that very process still runs.
live_process() {
  local pid start
  [ -f "$1" ] && read -r pid start <"$1" || return 1
  [ -n "${start:-}" ] && [ "$(started_at "$pid")" = "$start" ] && echo "$pid"
}

# A cluster is held by two processes: `outer` (unshare, in the machine's own process namespace) and its only child,
# which is process 1 inside. When either ends, the kernel ends everything inside.
outer_process() {
  local pid
  pid=$(live_process "$runs/$1/pid") || return 1
  # The folder's path is an argument of that process. This guards against a file that was written by hand or by
  # another boot of the machine.
  grep -qzFx -- "$runs/$1" "/proc/$pid/cmdline" && echo "$pid"
}

inner_process() {
  local outer
  outer=$(outer_process "$1") || return 1
  cut -d ' ' -f 1 "/proc/$outer/task/$outer/children" | grep .
}

control_group() { echo "weighbridge-e2e-$1"; }

# remove_remains NAME: the folder and the control groups of a cluster whose processes are gone.
remove_remains() {
  # Mounts go with their namespace; one below this folder in ours was made by somebody else. Deleting would empty it.
  ! grep -qF " $runs/$1/" /proc/self/mounts || die "something is mounted below $runs/$1: not removing it"
  within 20 remove_control_groups "$1" || say "control groups $(control_group "$1") are still in use"
  rm -rf --one-file-system -- "${runs:?}/$1"
  rmdir --ignore-fail-on-non-empty -- "$runs" 2>/dev/null || true
}

remove_control_groups() {
  local group
  # At the root of a v1 hierarchy each, or of the only one in v2.
  for group in /sys/fs/cgroup/*/"$(control_group "$1")" /sys/fs/cgroup/"$(control_group "$1")"; do
    [ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} + || return 1
  done
}

# end_cluster NAME: one kill, then the remains.
end_cluster() {
  local outer inner
  if outer=$(outer_process "$1"); then
    inner=$(inner_process "$1") || inner=
    kill -KILL "$outer" 2>/dev/null || true
    # --kill-child ends the inner process with the outer one; its end is complete when all others inside are gone.
    within 30 gone "$outer" || die "process $outer of cluster $1 does not end"
    within 30 gone "${inner:-$outer}" || die "process $inner of cluster $1 does not end"
  fi
  remove_remains "$1"
}

gone() { ! started_at "$1"; }

# lock_cluster NAME: of several that start or end the same cluster, one at a time. The locks are in the cache, for
# the run folder is to vanish, and a lock that is deleted locks nothing.
lock_cluster() {
  mkdir -p "$cache/locks"
  exec 9>"$cache/locks/cluster-$1"
  flock -w 300 9 || die "another process has been starting or ending $1 for five minutes"
}
