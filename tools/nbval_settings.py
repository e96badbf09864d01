"""Re-run the notebooks on several instruction sets and numbers of threads and compare the outputs.

The stored outputs have to match on any x86-64 processor, so each setting switches PyTorch's own
kernels (ATEN_CPU_CAPABILITY), MKL and oneDNN to older instructions, or changes the threads.

    python tools/nbval_settings.py [--all]

The first setting is that of the machine and runs every notebook. The others share the notebooks,
so that a run of the tests stays short; with --all each of them runs every notebook, too.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Each value of each variable occurs in one setting; more would only try more combinations.
SETTINGS: dict[str, dict[str, str]] = {
    "as is": {},
    "ATen AVX2, 1 thread": {"ATEN_CPU_CAPABILITY": "avx2", "OMP_NUM_THREADS": "1"},
    "ATen default, MKL SSE4.2, oneDNN SSE4.1, 2 threads": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OMP_NUM_THREADS": "2",
    },
}
NBVAL = (sys.executable, "-m", "pytest", "-p", "nbval_tolerance", "--nbval")
PARALLEL = ("-n", "2", "--dist", "loadscope", "--quiet")


def notebooks_of(number: int, notebooks: list[str], everything: bool) -> list[str]:
    """Return what setting `number` runs: the first all notebooks, the others every other one."""
    if number == 0 or everything:
        return notebooks
    return notebooks[number - 1 :: len(SETTINGS) - 1]


def main() -> int:
    """Run every setting, print the time of each, and return 1 if any failed."""
    parser = argparse.ArgumentParser(description="Compare the notebooks' outputs in all settings.")
    parser.add_argument("--all", action="store_true", help="run every notebook in every setting")
    everything = parser.parse_args().all
    notebooks = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("notebooks/*/*.ipynb"))
    failed = []
    for number, (name, variables) in enumerate(SETTINGS.items()):
        chosen = notebooks_of(number, notebooks, everything)
        print(f"--- {len(chosen)} of {len(notebooks)} notebooks: {name}", flush=True)
        start = time.perf_counter()
        done = subprocess.run(
            [*NBVAL, *chosen, *PARALLEL], cwd=ROOT, env={**os.environ, **variables}, check=False
        )
        print(f"--- {name}: {time.perf_counter() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"The outputs differ under: {'; '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
