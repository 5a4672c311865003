#!/usr/bin/env bash
# setup.sh DIR [SIZE [FAMILY]]: all that compare.py needs, in DIR (outside the repository; about
# 8 GB, most of it packages, and half an hour): a virtual environment, a random model of Stable
# Diffusion 1.5's shape, references, and each peer's form of the model for pictures of SIZE x SIZE
# (512). With FAMILY tiny, of TAESD's shape, and for PyTorch alone.
# What is there already is kept. Needs python3 (3.11 or newer) and a C compiler.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
size=${2:-512} family=${3:-kl}

once() { # once FILE COMMAND...: run the command unless its result is there
  [ -e "$dir/$1" ] && return
  echo "setup: $1" >&2
  "${@:2}"
}
# The exporters warn of what is constant in a traced model, which is meant here.
python() { "$dir/venv/bin/python" -W ignore "$@"; }

once venv python3 -m venv "$dir/venv"
python -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
once fma_peak.so "${CC:-cc}" -O3 -shared -fPIC -pthread "$here/fma_peak.c" -o "$dir/fma_peak.so"
once model/config.json python "$here/make_model.py" model --dir "$dir" --family "$family"

# One process for each thing, so that the memory of one is free before the next begins.
for what in decode encode; do
  name=${what}_$size
  common=(--dir "$dir" --what "$what" --size "$size")
  once "reference/$name.npy" python "$here/make_model.py" input "${common[@]}"
  for dtype in f32 f64; do
    once "reference/${name}_$dtype.npy" python "$here/make_model.py" "$dtype" "${common[@]}"
  done
  [ "$family" = kl ] || continue
  once "onnx/$name.onnx" python "$here/make_form.py" onnx "${common[@]}"
  once "openvino/$name.bin" python "$here/make_form.py" openvino "${common[@]}"
  once "ncnn/$name.ncnn.param" python "$here/make_form.py" ncnn "${common[@]}"
  once "mnn/$name.mnn" python "$here/make_form.py" mnn "${common[@]}"
done
echo "setup: ready; $dir/venv/bin/python $here/compare.py --dir $dir --vaekl PATH" >&2
