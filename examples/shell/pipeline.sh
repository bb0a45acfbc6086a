#!/usr/bin/env bash
# Add classes to a classifier, prove that nothing else changed, refuse a result that is not good.
#
#     pipeline.sh CHECKPOINT TABLE [SAMPLES]
#
# CHECKPOINT  the trained classifier, e.g. resnet50.pt
# TABLE       one line of numbers per class, known and new ones: animals.csv
# SAMPLES     labelled samples of known and new classes, test.npz; without them the new rows are
#             judged by held-out classes alone
#
# In the environment:
# OUT           folder of the results, which must not exist yet (icis-out)
# FIT           further options of icis fit, e.g. "--seen classes.txt" where the checkpoint does not
#               tell its class names, and its classes are not the first ones of TABLE, in order
# MIN_HELD_OUT  least share of held-out classes whose true row is the nearest, 0 to 1 (0.2). Twice
#               what guessing gives is asked for in any case: where 1 of 6 is right by chance, 2 of 6
# MIN_HARMONIC  with SAMPLES: least harmonic mean of the accuracies on known and new classes (0.3)
#
# The exit code is that of icis: 0 done, 1 bad data, 2 usage, 3 not good enough. In OUT each
# command leaves the JSON document that it printed.
set -euo pipefail

if [ "$#" -lt 2 ] || [ "$#" -gt 3 ]; then
    echo "usage: pipeline.sh CHECKPOINT TABLE [SAMPLES]" >&2
    exit 2
fi
weights=$1 table=$2 samples=${3-}
out=${OUT:-icis-out}
name=$(basename "$weights")
case $name in
*.*) new=$out/${name%.*}.injected.${name##*.} ;;
*) new=$out/$name.injected ;; # a folder of transformers or timm
esac
mkdir "$out"

# step COMMAND ARGUMENT...: run icis; what it prints on stdout goes to OUT/COMMAND.json. What went
# wrong is told on stderr, and ends the script with the exit code of icis.
step() {
    echo "== icis $1" >&2
    icis "$@" --json >"$out/$1.json"
}

# shellcheck disable=SC2086 # several options
step fit --weights "$weights" --attrs "$table" --out "$out/injector.safetensors" ${FIT-}

# How well rows of classes are predicted that the classifier knows, but the fit was not shown.
python3 - "$out/fit.json" "${MIN_HELD_OUT:-0.2}" <<'PYTHON'
import json
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    fitted = json.load(file)
held_out, verdict = fitted["held_out"], fitted["verdict"]
found = held_out["retrieval"] if held_out else 0.0
chance = 1 / held_out["candidates"] if held_out else 0.0
least = float(sys.argv[2])
print(
    f"held out: the true row is the nearest for {found:.3f} of the classes, {chance:.3f} by chance",
    file=sys.stderr,
)
if found < least or verdict["step"] == "guess":
    print(
        f"not good enough: expected at least {least}, and twice what is right by chance",
        file=sys.stderr,
    )
    sys.exit(3)
PYTHON

step inject --injector "$out/injector.safetensors" --weights "$weights" --out "$new"
step verify "$weights" "$new"
if [ -n "$samples" ]; then
    step eval --weights "$new" --features "$samples" --min-harmonic "${MIN_HARMONIC:-0.3}"
fi
echo "$new"
