"""Every ratio that raynas claims about its speed, measured in one run on one machine.

    python -m benchmarks                                  all topics, small sizes, a few minutes on 2 cores
    python -m benchmarks --only step,memory --size paper16 --runs 3 --threads 2
    python -m benchmarks --only step --external ../darts  against the original DARTS code in that checkout
    python -m benchmarks --only sweep --folder runs/mine  how busy the slots of a sweep were
    python -m benchmarks --markdown results.md            tables for docs/performance.md; --json: data

What is compared runs in turn, run by run, and medians are given, so that a busy machine slows both sides. A
topic is one module with one function `run`; sizes are in `setting`. Nothing here is installed with raynas.
"""

import os

# The profiler, which counts memory, tells on stderr that it starts and stops; read when torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
