#!/bin/sh
# Regenerates the checked-in modules; a test compares.
set -e
cd "$(dirname "$0")"
"${PYTHON:-python3}" -m grpc_tools.protoc -I. --python_out="${1:-.}" --pyi_out="${1:-.}" fedgate_proto/v1/*.proto
