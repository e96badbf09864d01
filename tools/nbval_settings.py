"""Re-run the notebooks on several instruction sets and numbers of threads and compare the outputs.

The stored outputs have to match on any x86-64 processor, so each setting switches PyTorch's own
kernels (ATEN_CPU_CAPABILITY), MKL and oneDNN to older instructions, or changes the threads.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Each value of each variable occurs in one run; more runs would only try more combinations.
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
NBVAL = [
    *(sys.executable, "-m", "pytest", "-p", "nbval_tolerance", "--nbval", "notebooks"),
    *("-n", "2", "--dist", "loadscope", "--quiet"),
]


def main() -> int:
    """Run every setting, print the time of each, and return 1 if any failed."""
    failed = []
    for name, variables in SETTINGS.items():
        print(f"--- notebooks: {name}", flush=True)
        start = time.perf_counter()
        done = subprocess.run(NBVAL, cwd=ROOT, env={**os.environ, **variables}, check=False)
        print(f"--- {name}: {time.perf_counter() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"The outputs differ under: {'; '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
