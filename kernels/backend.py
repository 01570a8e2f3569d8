"""The kernels as a backend of the model: `RemBertForMaskedLM.from_pretrained(folder, backend="triton", dtype="bfloat16")`.

Nothing of the model is said again here. What differs from NumPy's backend (`minirembert/backend.py`) is whose arrays the op
table takes, where they lie, and which optimizer steps them.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from kernels._launch import DEVICE, INTERPRETED
from kernels.optimizer import AdamW
from kernels.table import OPS


class TritonBackend:
    """torch tensors on a GPU; on the processor where the kernels are interpreted."""

    name = "triton"
    ops = OPS
    DTYPES = ("float16", "bfloat16", "float32", "float64")

    def __init__(self, dtype: str = "float32", device: str | None = None) -> None:
        name = str(dtype).removeprefix("torch.")
        if name not in self.DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(self.DTYPES)} with backend 'triton', got {dtype!r}")
        if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", str(device)):
            raise ValueError(f"device must be cpu, cuda or cuda:N, got {device!r}")
        self._device = torch.device(device or DEVICE)
        if self._device.type != DEVICE.type:
            how = "they are interpreted (no GPU, or TRITON_INTERPRET=1)" if INTERPRETED else "they are compiled"
            raise ValueError(f"backend 'triton' computes on {DEVICE} because {how}, got device {device!r}")
        self.device = str(self._device)
        self.dtype: torch.dtype = getattr(torch, name)
        self.host_dtype = np.dtype("float64" if name == "float64" else "float32")

    def array(self, values: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Weights or activations on this device, in `dtype`; memory is shared where neither has to change."""
        if not isinstance(values, torch.Tensor):
            values = torch.from_numpy(np.asarray(values, order="C"))
        return values.to(self._device, self.dtype)

    def input(self, values: np.ndarray) -> torch.Tensor:
        """Ids, masks or lengths on this device, in their own dtype; on the processor, memory is shared."""
        return torch.from_numpy(np.asarray(values, order="C")).to(self._device)

    def numpy(self, array: torch.Tensor) -> np.ndarray:
        """The numbers on the processor; float16 and bfloat16 become float32."""
        array = array.detach()
        return (array.float() if array.dtype.itemsize < 4 else array).cpu().numpy()

    def norm(self, arrays: Iterable[torch.Tensor]) -> float:
        """Summed in float32 or better, with one wait for the device instead of one for each array."""
        norms = [
            torch.linalg.vector_norm(a, dtype=torch.float64 if a.dtype == torch.float64 else torch.float32)
            for a in arrays
        ]
        return float(torch.linalg.vector_norm(torch.stack(norms)))

    def adamw(self, parameters: Mapping[str, torch.Tensor], **settings: Any) -> AdamW:
        """A `kernels.optimizer.AdamW`, which keeps float32 master weights beside parameters in half precision."""
        return AdamW(parameters, **settings)
