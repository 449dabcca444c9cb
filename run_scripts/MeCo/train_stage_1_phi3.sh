#!/bin/sh
exec "$(dirname "$0")/_train.sh" experiments/meco/stage1_phi3 "$@"
