"""Bytes that claim to be a model and are not; each is refused with our own error and no other."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedgate import Model
from fedgate.errors import InvalidModel
from fedgate.model import MAX_HEADER


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(begin=0, end=4, shape=(1,), dtype="F32", **more) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


def test_the_form_these_attacks_start_from_is_valid():
    assert Model.parse(raw({"a": entry(), "b": entry(4, 8)}, bytes(8))).keys() == {"a", "b"}


SIZES = {
    "nothing at all": b"",
    "no header": b"\0" * 7,
    "a header length beyond the data": (100).to_bytes(8, "little") + b"{}",
    "a header of 16 MiB and one byte": (MAX_HEADER + 1).to_bytes(8, "little") + b" " * 64,
    "a header length of 2**64-1": b"\xff" * 8 + b"{}",
    "an empty header": raw(b""),
    "trailing bytes": raw({"a": entry()}, bytes(5)),
    "missing bytes": raw({"a": entry()}, bytes(3)),
    "bytes without tensors": raw({}, b"x"),
    "overlapping tensors": raw({"a": entry(), "b": entry(2, 6)}, bytes(6)),
    "two tensors on the same bytes": raw({"a": entry(), "b": entry()}, bytes(4)),
    "a gap between tensors": raw({"a": entry(), "b": entry(5, 9)}, bytes(9)),
    "a gap before the first tensor": raw({"a": entry(1, 5)}, bytes(5)),
    "an empty tensor inside another": raw({"a": entry(), "b": entry(2, 2, (0,))}, bytes(4)),
    "an end before its begin": raw({"a": entry(4, 0)}, bytes(4)),
    "a negative begin": raw({"a": entry(-4, 0)}, bytes(4)),
    "a size that disagrees with the shape": raw({"a": entry(0, 4, (2,))}, bytes(4)),
    "a shape whose product overflows": raw({"a": entry(0, 4, (1 << 40, 1 << 40))}, bytes(4)),
    "a dimension beyond any memory": raw({"a": entry(0, 0, (0, 1 << 60))}),
    "a negative dimension": raw({"a": entry(0, 4, (-1, -1))}, bytes(4)),
    "65 dimensions": raw({"a": entry(0, 4, (1,) * 65)}, bytes(4)),
}
FORMS = {
    "no JSON": raw(b"{nonsense"),
    "a list": raw([]),
    "a number": raw(b"1"),
    "whitespace before the brace": raw(b" {}"),
    "a byte-order mark": raw(b"\xef\xbb\xbf{}"),
    "UTF-16": raw("{}".encode("utf-16-le")),
    "UTF-32": raw("{}".encode("utf-32-le")),
    "bytes that are no UTF-8": raw(b'{"\xff":1}'),
    "JSON a million levels deep": raw(b'{"a":' + b"[" * 1_000_000),
    "objects a hundred thousand levels deep": raw(b'{"a":' * 100_000),
    "a duplicate tensor name": raw(b'{"a":1,"a":1}'),
    "a duplicate key in an entry": raw(
        b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)
    ),
    "a duplicate name, once escaped": raw(
        b'{"a":' + (e := json.dumps(entry(0, 0, (0,))).encode()) + b',"\\u0061":' + e + b"}"
    ),
    "an unpaired surrogate as a name": raw(b'{"\\ud800":' + e + b"}"),
    "a number with 5000 digits": raw(b'{"a":' + b"9" * 5000 + b"}"),
    "a name of 1025 characters": raw({"x" * 1025: entry(0, 0, (0,))}),
    "an entry that is a list": raw({"a": []}),
    "an entry with something more": raw({"a": entry(more=1)}, bytes(4)),
    "an entry without a dtype": raw({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
    "an unknown dtype": raw({"a": entry(dtype="F31")}, bytes(4)),
    "a dtype that is a list": raw({"a": entry(dtype=["F32"])}, bytes(4)),
    "a shape that is a number": raw({"a": {**entry(), "shape": 1}}, bytes(4)),
    "a dimension that is true": raw({"a": entry(shape=(True,))}, bytes(4)),
    "a dimension that is a float": raw({"a": entry(shape=(1.0,))}, bytes(4)),
    "a dimension that is a text": raw({"a": entry(shape=("1",))}, bytes(4)),
    "an offset that is true": raw({"a": entry(False, 4)}, bytes(4)),
    "an offset that is a float": raw({"a": entry(0, 4.0)}, bytes(4)),
    "an offset that is no number": raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,NaN]}}'),
    "three offsets": raw({"a": {**entry(), "data_offsets": [0, 4, 4]}}, bytes(4)),
    "metadata that is a list": raw({"__metadata__": []}),
    "metadata that is a number": raw({"__metadata__": {"a": 1}}),
    "metadata with an unpaired surrogate": raw(b'{"__metadata__":{"a":"\\udc00"}}'),
}


@pytest.mark.parametrize("attack", [*SIZES.values(), *FORMS.values()], ids=[*SIZES, *FORMS])
def test_a_header_that_lies_or_is_malformed_is_refused(attack):
    with pytest.raises(InvalidModel):
        Model.parse(attack)


def test_more_tensors_than_any_model_has_are_refused():
    many = b",".join(b'"%d":0' % i for i in range(200_001))
    with pytest.raises(InvalidModel, match="sensible size"):
        Model.parse(raw(b"{" + many + b"}"))


GENUINE = Model.from_numpy(
    {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(0), "n": np.int64(7)},
    {"k": "v"},
).to_bytes()


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_damaged_model_is_another_valid_model_or_refused(data):
    damaged = bytearray(GENUINE)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        model = Model.parse(bytes(damaged))
    except InvalidModel:
        return
    assert sum(t.nbytes for t in model.values()) == model.nbytes
    assert Model.parse(model.to_bytes()).signature() == model.signature()
    model.numpy()


@given(st.integers(0, len(GENUINE) - 1))
def test_every_truncation_is_refused(length):
    with pytest.raises(InvalidModel):
        Model.parse(GENUINE[:length])


@given(st.binary(max_size=200))
def test_junk_never_raises_anything_but_our_own_error(junk):
    for attack in (junk, raw(junk), raw(b"{" + junk + b"}")):
        with contextlib.suppress(InvalidModel):
            Model.parse(attack)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
odd = st.one_of(st.just([0]), st.just([0, 4]), st.just("F32"), json_values)


@settings(deadline=None)
@given(odd, odd, odd, st.binary(max_size=8))
def test_any_json_in_an_entry_is_a_tensor_or_refused(dtype, shape, offsets, data):
    header = {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}
    try:
        model = Model.parse(raw(json.dumps(header).encode(), data))
    except InvalidModel:
        return
    assert model["a"].nbytes == len(data)
