#!/usr/bin/env bash
# Gets the PJRT plug-in for the CPU on which XLA is tested, and prints where it is. It is a file in a Python package, fetched
# with pip once and kept in the user's cache.
#
#   DOOB_PJRT_PLUGIN=$(bench/pjrt.sh) go test -tags xla ./...
#
# Exits with 1 if there is no way to get it here, and with 2 if what came is not what was asked for.
set -euo pipefail

# Built from a newer XLA than go-xla speaks to (PJRT 0.115, 0.114); a plug-in serves older callers.
package=lammps-jax-pjrt-cpu
version=0.11.2
sha256=1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1 # of the wheel
file=lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so

fail() {
  echo "bench/pjrt.sh: $2" >&2
  exit "$1"
}

dir=${XDG_CACHE_HOME:-$HOME/.cache}/doob/pjrt/$package-$version
if [[ ! -f $dir/$file ]]; then
  [[ $(uname -sm) == 'Linux x86_64' ]] || fail 1 "the plug-in is for Linux on x86-64, and this is $(uname -sm)"
  python3 -m pip --version >&2 || fail 1 'python3 with pip is needed to fetch the plug-in'
  mkdir -p "$(dirname "$dir")"
  work=$(mktemp -d "$dir.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest "$work" "$package==$version" >&2 || fail 1 "pip has no $package $version for this machine"
  wheel=$(echo "$work"/*.whl)
  got=$(sha256sum "$wheel")
  [[ ${got%% *} == "$sha256" ]] || fail 2 "$package $version has SHA-256 ${got%% *}, want $sha256: do not use it"
  python3 -m zipfile -e "$wheel" "$work" && rm "$wheel"
  rm -rf "$dir" && mv "$work" "$dir"
fi
echo "$dir/$file"
