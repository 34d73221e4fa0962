"""An installed package answers, with the kernel of its wheel or in numpy.

Run: python answers.py kernel|numpy   (in an environment with nothing but the package)
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import debertav3
from debertav3.cpu.kernel.library import kernel

wanted = sys.argv[1]
assert importlib.util.find_spec("torch") is None, "torch is installed: this shows nothing"
package = Path(debertav3.__file__).parent
assert "site-packages" in package.parts, f"{package} is not installed, but a source tree"
found = kernel()
assert (found is not None) == (wanted == "kernel"), f"got {found and found.name}, need {wanted}"

command = [
    sys.executable,
    "-m",
    "debertav3",
    "nli",
    "A man is playing a guitar on stage.",
    "Nobody is playing music.",
]
done = subprocess.run(command, capture_output=True, text=True, check=False)
assert done.returncode == 0, done.stderr
answer = json.loads(done.stdout)
assert answer["contradiction"] > 80, answer
print(found.name if found is not None else "numpy", answer)
