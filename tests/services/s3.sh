#!/usr/bin/env bash
# The S3 server of a test, which S3_SERVER names: seaweedfs, the default, which is there in seconds, or minio, which is built first.
# usage: as seaweedfs.sh and minio.sh
case ${S3_SERVER:=seaweedfs} in
seaweedfs | minio) exec bash "$(dirname "$0")/$S3_SERVER.sh" "$@" ;;
*)
    printf 'error: S3_SERVER is seaweedfs or minio, not %s\n' "$S3_SERVER" >&2
    exit 2
    ;;
esac
