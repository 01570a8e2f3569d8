"""One encoder layer of the real size on the CPU: minirembert (NumPy) beside transformers (PyTorch, eager).

    python -m benchmarks.encoder_layer_cpu [--rounds 5] [--threads 2] [--out FILE.json] [--tiny]

Both run the same float32 weights at 1 x 128 and 1 x 512 tokens. They never share a process: idle thread pools spin, and
torch beside OpenBLAS measures 2 to 3 times too slow. Fresh processes alternate, and the figure is the ratio of medians.
Each process also hands back its result, and the two must agree before any time is believed. `--tiny` runs a small layer for a
moment, to see that it runs: its times say nothing, and are not written.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from minirembert.progress import busy
from minirembert.provenance import provenance

REAL_SIZE: dict[str, int] = {}  # RemBERT's, which both configurations have as their default
TINY = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 40}
LENGTHS, SECONDS = (128, 512), 2.0  # of a measurement
TINY_LENGTHS, TINY_SECONDS = (9,), 0.01

Answer = tuple[list[float], list[float]]  # seconds of each run; the first 2000 numbers of the result


def run_numpy(length: int, sizes: dict[str, int], seconds: float) -> Answer:
    import numpy as np

    from minirembert.config import RemBertConfig
    from minirembert.model.attention import attention_block, keys_values_of
    from minirembert.model.encoder import block_shapes
    from minirembert.model.feed_forward import feed_forward
    from minirembert.model.forward_pass import ForwardPass, Parameters
    from minirembert.model.masks import Mask
    from minirembert.ops import OPS
    from minirembert.tape import Forward

    config = RemBertConfig(num_hidden_layers=1, **sizes)
    x, state = _numbers(length, config.hidden_size, block_shapes(config))
    run, p = ForwardPass(Forward(OPS), config), Parameters(state)

    def layer() -> np.ndarray:
        keys_values = keys_values_of(run, p.at("attention"), x)
        return feed_forward(run, p, attention_block(run, p.at("attention"), x, keys_values, Mask())[0])

    return _time(layer, seconds), layer().ravel()[:2000].tolist()


def run_torch(length: int, sizes: dict[str, int], seconds: float) -> Answer:
    import torch
    from transformers import RemBertConfig
    from transformers.models.rembert.modeling_rembert import RemBertLayer

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    config = RemBertConfig(num_hidden_layers=1, **sizes)
    config._attn_implementation = "eager"
    layer = RemBertLayer(config, layer_idx=0).eval() if _takes_index(RemBertLayer) else RemBertLayer(config).eval()
    shapes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    x, state = _numbers(length, config.hidden_size, shapes)
    layer.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    tokens = torch.from_numpy(x)

    @torch.inference_mode()
    def run() -> "torch.Tensor":
        y = layer(tokens)
        return y[0] if isinstance(y, tuple) else y

    return _time(run, seconds), run().ravel()[:2000].tolist()


def _takes_index(layer_class: type) -> bool:
    import inspect

    return "layer_idx" in inspect.signature(layer_class).parameters


def _numbers(length, width, shapes):  # type: ignore[no-untyped-def]
    """The same input and weights in every process, whatever the order of the names."""
    import numpy as np

    x = np.random.default_rng(length).standard_normal((1, length, width), np.float32)
    state = {}
    for number, name in enumerate(sorted(shapes)):
        weight = np.random.default_rng([7, number]).standard_normal(shapes[name], np.float32) * np.float32(0.02)
        state[name] = weight + 1 if name.endswith("LayerNorm.weight") else weight
    return x, state


def _time(layer, seconds: float) -> list[float]:  # type: ignore[no-untyped-def]
    for _ in range(3):
        layer()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        layer()
        times.append(time.perf_counter() - start)
    return times


ENGINES = {"minirembert": run_numpy, "transformers": run_torch}


def measure(engine: str, length: int, threads: int, tiny: bool) -> dict[str, list[float]]:
    """Times and results of one fresh process, whose warnings and errors are shown."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.encoder_layer_cpu", "--child", engine, str(length), str(answer)]
        subprocess.run([*command, *(["--tiny"] if tiny else [])], env={**os.environ, **limits}, check=True)
        return json.loads(answer.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="see that it runs; measures nothing")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        engine, length, answer = arguments.child
        how = (TINY, TINY_SECONDS) if arguments.tiny else (REAL_SIZE, SECONDS)
        times, values = ENGINES[engine](int(length), *how)
        Path(answer).write_text(json.dumps({"times": times, "values": values}))
        return 0

    if arguments.tiny and arguments.out:
        parser.error("--tiny measures nothing, so there is nothing to write")
    rows = []
    for length in TINY_LENGTHS if arguments.tiny else LENGTHS:
        medians: dict[str, list[float]] = {engine: [] for engine in ENGINES}
        values: dict[str, list[float]] = {}
        for _ in range(arguments.rounds):
            for engine in ENGINES:
                with busy(f"1 x {length}, {engine}"):
                    answer = measure(engine, length, arguments.threads, arguments.tiny)
                medians[engine].append(1000 * median(answer["times"]))
                values[engine] = answer["values"]
        error = max(abs(a - b) for a, b in zip(values["minirembert"], values["transformers"], strict=True))
        if error > 1e-4:
            print(f"the two disagree by {error}: no time is reported", file=sys.stderr)
            return 1
        ours, theirs = median(medians["minirembert"]), median(medians["transformers"])
        rows.append({"tokens": length, "ratio": ours / theirs, "median_ms": medians, "largest_difference": error})
        print(
            f"1 x {length}: minirembert / transformers = {ours / theirs:.2f}   "
            f"(rounds {', '.join(f'{a / b:.2f}' for a, b in zip(*medians.values(), strict=True))}; "
            f"largest difference {error:.1e})",
            flush=True,
        )
    if arguments.out:
        record = {"benchmark": "encoder_layer_cpu", **provenance("numpy", "torch", "transformers"), "rows": rows}
        record |= {"threads": arguments.threads, "processor": platform.processor() or platform.machine()}
        arguments.out.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
