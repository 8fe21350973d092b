from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedgate_flower.npy import canonical_header, parse_header

DTYPES = ["b1", "u1", "i1", "i2", "u2", "f2", "i4", "u4", "f4", "i8", "u8", "f8", "c8"]
SHAPES = [(), (0,), (3,), (3, 4), (10**9, 0), (5, 1, 2), (1,) * 32]


def saved(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_canonical_header_is_what_numpy_writes(dtype: str, shape: tuple[int, ...]) -> None:
    data = saved(np.zeros(shape, dtype))
    header = parse_header(memoryview(data))
    assert header is not None
    assert (header.shape, header.fortran, header.plain) == (shape, False, True)
    assert header.payload == len(data) - header.size
    assert canonical_header(header.tensor_dtype("") or "", shape) == data[: header.size]


@pytest.mark.parametrize("length", range(64))
def test_the_padding_is_numpys_for_every_length_of_the_header(length: int) -> None:
    shape = (0, 10 ** (length % 3), *[1] * (length // 3))  # one character more each
    data = saved(np.zeros(shape, "<f4"))
    header = parse_header(memoryview(data))
    assert header is not None
    assert canonical_header("F32", shape) == data[: header.size]


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, [("a", "<f4"), ("b", "<i2")]),
        np.array(["text", "x"]).astype("O"),
        np.zeros(2, "M8[s]"),
    ],
    ids=["structured", "objects", "dates"],
)
def test_what_is_not_a_plain_dtype_is_left_alone(array: np.ndarray) -> None:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    header = parse_header(memoryview(out.getvalue()))
    assert header is None or header.tensor_dtype(str(array.dtype)) is None


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_raise(noise: bytes) -> None:
    parse_header(memoryview(noise))
    parse_header(memoryview(b"\x93NUMPY\x01\x00" + noise))


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os'),), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
        "{'descr': '<f4', 'shape': (1,), 'fortran_order': False, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1, }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1), }",
    ],
)
def test_a_header_that_numpy_would_not_write_is_not_understood(text: str) -> None:
    encoded = text.encode() + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(encoded).to_bytes(2, "little") + encoded + bytes(64)
    assert parse_header(memoryview(data)) is None
