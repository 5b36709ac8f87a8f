#!/bin/sh
# Install defect-workflows on a clean Debian (trixie or later) as root: system packages, Python, the package.
#   docker/install.sh VENV [REQUIREMENT ...]
# The image and CI run this same script. The requirements go into the virtual environment beside the package and
# its extra `rehearsal`. Where packages come from is said by apt's and pip's own settings; PIP_OPTIONS: more for pip.
set -eu
venv=${1:?expected the folder of the virtual environment}
shift
source=$(cd "$(dirname "$0")/.." && pwd)

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# certificates: for a MongoDB that is reached by TLS; libgomp1: tblite's wheel does not bring it
apt-get install -q -y --no-install-recommends ca-certificates libgomp1 python3 python3-venv

python=$(sh "$source/scripts/find_python")
"$python" -m venv "$venv"
# shellcheck disable=SC2086 # several options
"$venv/bin/python" -m pip install --no-cache-dir ${PIP_OPTIONS:-} "${source}[rehearsal]" "$@"
