"""An encoder and a smaller generator in the layout of a run, from which RTD begins with ``--from``.

Run: python recipes/nano/start_of_rtd.py --discriminator runs/mlm/encoder --generator runs/shallow/generator \
         --out start
"""

import argparse
import shutil
from pathlib import Path

from debertav3.files import replacing_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--discriminator", type=Path, required=True)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    with replacing_folder(arguments.out) as folder:
        for name in ("encoder", "discriminator"):
            shutil.copytree(arguments.discriminator, folder / name)
        shutil.copytree(arguments.generator, folder / "generator")


if __name__ == "__main__":
    main()
