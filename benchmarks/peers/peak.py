"""The machine's matrix product, float32, 2048 x 2048 x 2048: what model FLOP/s are compared with.

Torch's (oneDNN or MKL) where the environment has torch, else numpy's; on a GPU, torch's there.
"""

import time

import contestant

SIZE = 2048


def prepare(options):
    try:
        import torch
    except ImportError:
        import numpy as np

        x = np.ones((SIZE, SIZE), np.float32)
        multiply, versions = lambda: x @ x, {"numpy": np.__version__}
    else:
        torch.set_num_threads(options.threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        x = torch.ones(SIZE, SIZE, device=device)
        versions = {"torch": torch.__version__, "device": device}

        def multiply():
            product = x @ x
            if device == "cuda":
                torch.cuda.synchronize()
            return product

    products = contestant.steps_per_round(multiply, min(1.0, options.seconds_per_round))

    def run_round():
        started = time.perf_counter()
        for _ in range(products):
            multiply()
        return {"seconds": time.perf_counter() - started, "flops": products * 2 * SIZE**3}

    return {"versions": versions}, run_round


if __name__ == "__main__":
    contestant.main(prepare)
