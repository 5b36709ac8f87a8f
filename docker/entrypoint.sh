#!/bin/sh
# Turn the password's file (a docker secret) into the files that FireWorks and jobflow read, then run the command.
# The files are of mode 600; the password is in no environment variable, no argument and no log.
set -eu
config=${CONFIG_FOLDER:-/run/config}
if [ -n "${MONGO_PASSWORD_FILE:-}" ]; then
    (
        umask 077
        host=${MONGO_HOST:?} port=${MONGO_PORT:-27017} database=${MONGO_DATABASE:?} user=${MONGO_USER:?}
        password=$(sed "s/'/''/g" "$MONGO_PASSWORD_FILE") # as YAML quotes it
        [ -n "$password" ] || { echo "$MONGO_PASSWORD_FILE: empty, expected a password" >&2 && exit 1; }
        login="database: $database, host: $host, port: $port, username: $user, password: '$password'"
        cat >"$config/store.yaml" <<END
docs_store: {type: MongoStore, collection_name: outputs, $login}
additional_stores: {data: {type: GridFSStore, collection_name: outputs_data, $login}}
END
        cat >"$config/my_launchpad.yaml" <<END
{name: $database, authsource: $database, host: $host, port: $port, username: $user, password: '$password'}
END
        # a worker of no kind takes every job
        cat >"$config/my_fworker.yaml" <<END
{name: "${WORKER_KIND:-any}", category: "${WORKER_KIND:-}", query: "{}"}
END
        echo "JOB_STORE: $config/store.yaml" >"$config/jobflow.yaml"
        echo "CONFIG_FILE_DIR: $config" >"$config/FW_config.yaml"
    )
    export FW_CONFIG_FILE="$config/FW_config.yaml" JOBFLOW_CONFIG_FILE="$config/jobflow.yaml" \
        DEFECT_WORKFLOWS_STORE="$config/store.yaml"
fi
exec "$@"
