"""Records what transformers 4.34 gives for the calls in `recorded_cases.py`. Run it where that version lives:

python tests/record_4_34.py      (transformers==4.34.0, a torch that it can use, numpy; nothing of ours)
"""

import json
from pathlib import Path

import numpy as np
import torch
import transformers
from recorded_cases import CASES, SIZES, flattened, weight

HERE = Path(__file__).parent


def main() -> None:
    assert transformers.__version__.startswith("4.34."), transformers.__version__
    numbers, structures = [], {}
    for name, case in CASES.items():
        config = transformers.RemBertConfig(**{**SIZES, **case.config})
        pooling = {} if case.pooling else {"add_pooling_layer": False}
        model = getattr(transformers, f"RemBert{case.model}")(config, **pooling).double().eval()
        state = {key: torch.from_numpy(weight(key, tuple(p.shape))) for key, p in model.named_parameters()}
        model.load_state_dict(state)
        past = None
        for n, call in enumerate(case.calls):
            arguments = {key: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for key, v in call.items()}
            if past is not None:
                arguments["past_key_values"] = past
            with torch.no_grad():
                output = model(**arguments, return_dict=False)
                past = model(**arguments).past_key_values if case.carry else None
            structure, arrays = flattened(output)
            structures[f"{name} {n}"] = structure
            numbers += [array.ravel() for array in arrays]
    np.savez_compressed(
        HERE / "data" / "transformers_4_34.npz",
        numbers=np.concatenate(numbers),
        structures=np.array(json.dumps(structures)),
        version=np.array(transformers.__version__),
    )
    print(f"{len(structures)} calls, {sum(a.size for a in numbers)} numbers")


if __name__ == "__main__":
    main()
