#!/usr/bin/env bash
# What can be done with the image where there is no docker daemon: as root, with debootstrap and buildah.
#   docker/build_without_daemon.sh install    install.sh alone on a clean Debian, with few dependencies (CI does)
#   docker/build_without_daemon.sh image      the whole image
#   docker/build_without_daemon.sh rehearse   the tiny rehearsal in it, as its user: by `run`, then by FireWorks on a
#                                             MongoDB with passwords beside it; writes the figures into README.md
# WORK: folder for everything (25 GB while it builds). PYTHON: with the development extra, for its MongoDB.
# DEBIAN_MIRROR, PIP_OPTIONS: where packages come from. pip's index and the certificates of this machine are lent to
# the build and are not in the image.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${WORK:-/var/tmp/defect-workflows-image}
python=${PYTHON:-.venv/bin/python}
suite=trixie
image=localhost/defect-workflows
campaign=/flows/MgO_v_O/tiny.yaml
certificates=/etc/ssl/certs/ca-certificates.crt
mkdir -p "$work/tmp"
export TMPDIR="$work/tmp"

storage() { # buildah, with its images in the work folder
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs "$@"
}

make_base() { # a clean Debian, once
    [ -e "$work/base.made" ] && return
    rm -rf "$work/base"
    debootstrap --variant=minbase "$suite" "$work/base" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/debootstrap.log" ||
        { tail -n 5 "$work/debootstrap.log" >&2; exit 1; }
    chroot "$work/base" apt-get clean
    touch "$work/base.made"
}

pip_settings() { # of this machine, as they are inside
    echo "[global]"
    index=$(python3 -m pip config get global.index-url 2>/dev/null) && echo "index-url = $index"
    echo "cert = /run/certificates.crt"
}

install_on_base() {
    make_base
    local clean="$work/clean"
    rm -rf "$clean"
    cp -a "$work/base" "$clean"
    mkdir "$clean/source"
    cp -r pyproject.toml README.md LICENSE scripts docker defect_workflows "$clean/source"
    pip_settings >"$clean/etc/pip.conf"
    cp "$certificates" "$clean/run/certificates.crt"
    cp -L /etc/resolv.conf "$clean/etc/resolv.conf"
    inside() { chroot "$clean" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin PIP_OPTIONS="--quiet --no-deps" "$@"; }
    inside sh /source/docker/install.sh /opt/venv tblite numpy cffi >"$work/install.log" 2>&1 ||
        { tail -n 20 "$work/install.log" >&2; exit 1; }
    inside /opt/venv/bin/python -c "import defect_workflows, tblite.interface, sys; print('installed', sys.version)"
    rm -rf "$clean"
}

build_image() {
    make_base
    local container started
    container=$(storage from scratch)
    storage add --quiet "$container" "$work/base" /
    storage commit --quiet --rm "$container" localhost/debian-base
    pip_settings >"$work/pip.conf"
    started=$(date +%s)
    storage bud --isolation chroot --build-arg BASE=localhost/debian-base --build-arg PIP_OPTIONS="${PIP_OPTIONS:-}" \
        --secret "id=pip,src=$work/pip.conf" --volume "$certificates:/run/certificates.crt:ro" \
        --tag "$image" --file docker/Dockerfile . >"$work/build.log" 2>&1 ||
        { tail -n 20 "$work/build.log" >&2; exit 1; }
    echo $((($(date +%s) - started + 30) / 60)) >"$work/build.minutes"
}

start_mongodb() { # with passwords, at $port; that of the workers in a file that is like a docker secret
    rm -rf "$work/mongodb"
    mkdir -p "$work/mongodb"
    (umask 077 && mkdir -p "$work/secrets")
    od -A n -N 16 -t x1 /dev/urandom | tr -d ' \n' >"$work/secrets/mongo_worker"
    local program
    program=$(PYTHONPATH=tests "$python" -c 'from services import mongod_program; print(mongod_program())')
    port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$program" --auth --dbpath "$work/mongodb" --bind_ip 127.0.0.1 --port "$port" --nounixsocket \
        --wiredTigerCacheSizeGB 0.25 >"$work/mongod.log" &
    # shellcheck disable=SC2064 # the process of now
    trap "kill $!" EXIT
    "$python" - "$port" "$work/secrets/mongo_worker" <<'END'
import pathlib, secrets, sys
from pymongo import MongoClient
port, password, root = int(sys.argv[1]), pathlib.Path(sys.argv[2]).read_text(), secrets.token_hex()
MongoClient("127.0.0.1", port).admin.command("createUser", "root", pwd=root, roles=["root"])
client = MongoClient("127.0.0.1", port, username="root", password=root)
client.defect_workflows.command("createUser", "worker", pwd=password, roles=["dbOwner"])
END
}

in_image() { # a command as the image's user, with its entrypoint, on the network of this machine; $options of buildah
    # shellcheck disable=SC2046 # several options
    storage run --isolation chroot --volume "$PWD/flows:/flows:ro" --volume "$work/results:/results" "${options[@]}" \
        $(sed -n 's/^DEFECT/--env &/p' docker/rehearsal.env) --env OMP_NUM_THREADS=1 \
        "$container" -- entrypoint "$@"
}

rehearse() {
    container=$(storage from "$image")
    rm -rf "$work/results"
    install -d -o 1000 "$work/results"
    options=()
    in_image id
    in_image defect-workflows run "$campaign" --workdir /results/run --rehearse

    start_mongodb
    options=(--volume "$work/secrets/mongo_worker:/run/secrets/mongo_worker:ro")
    for setting in PASSWORD_FILE=/run/secrets/mongo_worker HOST=127.0.0.1 PORT="$port" DATABASE=defect_workflows \
        USER=worker; do options+=(--env "MONGO_$setting"); done
    in_image python -c "from fireworks import LaunchPad; LaunchPad.auto_load().reset('', require_password=False)"
    in_image defect-workflows submit "$campaign"
    in_image rlaunch rapidfire --nlaunches 0 >"$work/rlaunch.log" 2>&1
    in_image defect-workflows status "$campaign"
    local jobs completed
    jobs=$(in_image lpad get_fws -d count) completed=$(in_image lpad get_fws -s COMPLETED -d count)
    echo "FireWorks: $jobs jobs, $completed completed"
    [ "$jobs" = "$completed" ]
    in_image ls -l /run/config
    if grep -rlf "$work/secrets/mongo_worker" "$(storage mount "$container")/work" "$work/results" "$work"/*.log; then
        echo "the password is in these files" >&2 && exit 1
    fi
    echo "the password is in no file of the workers and in no log"
    storage rm "$container" >/dev/null
}

write_figures() { # the end of README.md
    sed -i '/^## Measured/q' docker/README.md
    {
        echo
        echo "By \`docker/build_without_daemon.sh image rehearse\`, $(date -u +%Y-%m-%d), $(nproc) busy cores, Debian $suite,"
        size=$(storage images --format '{{.Size}}' "$image")
        echo "torch with CUDA: $size, built in $(cat "$work/build.minutes") minutes. The rehearsal printed at its end:"
        echo
        echo '```'
        tail -n 22 "$work/rehearsal.log" | sed 's/ *$//'
        echo '```'
    } >>docker/README.md
}

for step in "$@"; do
    case $step in
    install) install_on_base ;;
    image) build_image ;;
    rehearse)
        rehearse 2>&1 | tee "$work/rehearsal.log"
        write_figures
        ;;
    *) echo "found $step, expected install, image or rehearse" >&2 && exit 2 ;;
    esac
done
