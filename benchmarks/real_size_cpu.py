"""google/rembert's own size, with random weights: load 576 million parameters and run 1 x 128 tokens in float32.

    python -m benchmarks.real_size_cpu [--out FILE.json] [--tiny]

Writes a 2.3 GB file to a temporary folder, then loads it and runs it in a fresh process, whose peak memory is the figure.
`--tiny` does it with a small model, to see that it runs: its figures say nothing, and are not written.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from minirembert.progress import busy
from minirembert.provenance import provenance

TINY = {"vocab_size": 300, "hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 40, "num_hidden_layers": 2}


def write(folder: Path, sizes: dict[str, int]) -> None:
    from minirembert import RemBertConfig, RemBertModel

    RemBertModel(RemBertConfig(**sizes)).save_pretrained(folder)


def load_and_run(folder: Path) -> dict[str, float]:
    import numpy as np

    from minirembert import RemBertModel

    start = time.perf_counter()
    model = RemBertModel.from_pretrained(folder)
    loaded = time.perf_counter()
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, (1, 128))
    hidden = model(ids).last_hidden_state
    done = time.perf_counter()
    if not np.isfinite(hidden).all() or hidden.shape != (1, 128, model.config.hidden_size):
        raise ArithmeticError(f"the forward pass gave {hidden.shape}, or numbers that are not finite")
    weights = sum(array.nbytes for array in model.parameters.values())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "parameters": model.num_parameters(),
        "weights_bytes": weights,
        "peak_memory_bytes": peak,
        "peak_over_weights": peak / weights,
        "load_seconds": loaded - start,
        "forward_seconds": done - loaded,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--tiny", action="store_true", help="see that it runs; measures nothing")
    parser.add_argument("--child", nargs=2, metavar=("STEP", "DIR"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        step, folder = arguments.child
        made = load_and_run(Path(folder)) if step == "run" else write(Path(folder), TINY if arguments.tiny else {})
        print(json.dumps(made, allow_nan=False))
        return 0
    if arguments.tiny and arguments.out:
        parser.error("--tiny measures nothing, so there is nothing to write")
    with tempfile.TemporaryDirectory() as folder:
        for step in ("write", "run"):
            command = [sys.executable, "-m", "benchmarks.real_size_cpu", "--child", step, folder]
            with busy(f"real size, {step}"):
                answer = subprocess.run(
                    [*command, *(["--tiny"] if arguments.tiny else [])], check=True, stdout=subprocess.PIPE, text=True
                ).stdout
    result = json.loads(answer)
    print(
        f"{result['parameters']:,} parameters, {result['weights_bytes'] / 1e9:.2f} GB: peak memory "
        f"{result['peak_over_weights']:.2f} times the weights"
    )
    if arguments.out:
        arguments.out.write_text(json.dumps({**provenance("numpy"), **result}, indent=1, allow_nan=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
