#!/bin/sh
# Tokens a second and peak memory of fine-tuning SmolLM2-135M, and, if a command is given, that command's own figures in the
# same run on the same machine: scripts/bench_sft.sh 6 python sft_trl.py --model DIR --steps 6
set -eu
cd "$(dirname "$0")/.."
steps=${1:-6}
[ $# -gt 0 ] && shift
scripts/fetch_smollm.sh
cargo build --release --quiet
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
here=$(pwd)
# A folder without a store: the stage is run, not found.
ln -s "$here/models" "$here/examples" "$here/benches" "$out"
cd "$out"
"$here/target/release/alignc" run benches/sft.align --set "steps=$steps" --json >events &
pid=$!
peak=0
while kill -0 "$pid" 2>/dev/null; do
    now=$(sed -n 's/^VmHWM:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status" 2>/dev/null || true)
    [ -n "$now" ] && [ "$now" -gt "$peak" ] && peak=$now
    sleep 0.2
done
wait "$pid"
seconds=$(sed -n 's/.*"seconds":\([0-9.]*\).*"step":'"$steps"',.*/\1/p' events)
tokens=$(tail -n 1 out/sft/metrics.jsonl | sed 's/.*"num_tokens":\([0-9]*\).*/\1/')
echo "$seconds $tokens $peak" | awk '{ printf "alignc: %d tokens in %.1f s, %.1f tokens/s, peak %d MB\n", $2, $1, $2 / $1, $3 / 1024 }'
[ $# -eq 0 ] || { cd "$here" && "$@"; }
