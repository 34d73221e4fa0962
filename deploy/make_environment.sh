#!/bin/sh
# The Python environment of the image, without torch: the wheel and exactly the packages of requirements/.
#
#   sh deploy/make_environment.sh FOLDER WHEEL [RUNTIME]
#
# RUNTIME is native (the default: checkpoints), onnx or openvino (folders of `debertav3 export`).
# PYTHON, by default python3, must be Python 3.11: the pinned packages are for it.
set -eu
folder=$1 wheel=$2 runtime=${3:-native}
here=$(dirname "$0")
python=${PYTHON:-python3}

"$python" -m venv --without-pip "$folder"
install() {
    "$python" -m pip --python "$folder/bin/python" install --quiet --no-deps --no-cache-dir "$@"
}
install --only-binary=:all: --require-hashes -r "$here/requirements/light.txt"
if [ "$runtime" != native ]; then
    install --only-binary=:all: --require-hashes -r "$here/requirements/$runtime.txt"
fi
install "$wheel"

# What a server never imports.
packages=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
find "$packages/numpy" "$packages/tokenizers" "$packages/sentencepiece" -type d -name tests -prune -exec rm -rf {} +
rm -rf "$packages/numpy/f2py" "$packages/numpy/typing/tests"
for unused in transformers quantization tools datasets; do
    rm -rf "$packages/onnxruntime/$unused"
done
