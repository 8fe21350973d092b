"""Torch tensors as tensors of a model and back, bit for bit; importing this imports no torch.

Only a process whose job uses torch ever loads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fedgate.errors import InvalidMessage, InvalidModel
from fedgate.model import Tensor

#: torch dtype -> dtype of the model's tensor.
_DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}  # fmt: skip
#: Carried as its real and imaginary parts.
_COMPLEX128 = "complex128"


def is_tensor(value: Any) -> bool:
    """A torch tensor or parameter, told without importing torch."""
    return hasattr(value, "data_ptr") and hasattr(value, "layout") and hasattr(value, "detach")


def to_tensor(value: Any) -> tuple[Tensor, str]:
    """The tensor that shares the memory of a CPU tensor where it can, and the torch dtype.

    Raises :class:`InvalidModel` for sparse, quantised and meta tensors.
    """
    import torch

    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        raise InvalidModel(
            "a sparse, quantised or meta tensor cannot be sent",
            remedy="send a dense tensor (to_dense(), dequantize())",
        )
    dtype = str(value.dtype).removeprefix("torch.")
    plain = value.detach().resolve_conj().resolve_neg().cpu().contiguous()
    if dtype == _COMPLEX128:
        plain = torch.view_as_real(plain)
    carrier = "F64" if dtype == _COMPLEX128 else _DTYPES.get(dtype)
    if carrier is None:
        raise InvalidModel(f"a torch tensor of dtype {dtype} cannot be sent")
    data = memoryview(b"")
    if plain.numel():
        data = memoryview(plain.reshape(-1).view(torch.uint8).numpy())
    return Tensor(carrier, tuple(plain.shape), data), dtype


def from_tensor(tensor: Tensor, dtype: str) -> Any:
    """The torch tensor: a view where the memory is writable, else a copy."""
    expected = "F64" if dtype == _COMPLEX128 else _DTYPES.get(dtype)
    if expected is None or expected != tensor.dtype:
        raise InvalidMessage(f"a tensor of {tensor.dtype} is no torch tensor of {dtype[:40]!r}")
    try:
        import torch
    except ImportError:
        raise InvalidMessage(
            "a torch tensor came where torch is not installed",
            remedy="install torch there, or exchange numpy arrays (server_expected_format='numpy')",
        ) from None
    kind = torch.float64 if dtype == _COMPLEX128 else getattr(torch, dtype)
    if not tensor.nbytes:
        found = torch.empty(tensor.shape, dtype=kind)
    else:
        raw = np.frombuffer(tensor.data, np.uint8)
        if not raw.flags.writeable:
            raw = raw.copy()
        found = torch.from_numpy(raw).view(kind).reshape(tensor.shape)
    if dtype != _COMPLEX128:
        return found
    if tensor.shape[-1:] != (2,):
        raise InvalidMessage("a complex tensor lacks its imaginary parts")
    return torch.view_as_complex(found.contiguous())
