"""Messages cross bit for bit, and a hostile body builds nothing it should not."""

from __future__ import annotations

import sys

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.shareable import Shareable
from nvflare.private.fed.utils.fed_utils import fobs_initialize

from fedgate.errors import InvalidMessage, InvalidModel
from fedgate.model import Model
from fedgate_flare.codec import decode, encode

fobs_initialize()


def cross(message):
    """Through the wire: the model's bytes are parsed into memory that can be written."""
    model, body = encode(message)
    return decode(Model.parse(bytearray(model.to_bytes())), body)


def same(a, b):
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and a.tobytes(order="C") == b.tobytes(order="C")
        and a.flags.f_contiguous == b.flags.f_contiguous
    )


dtypes = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    hnp.complex_number_dtypes(endianness="?", sizes=(64, 128)),
    hnp.datetime64_dtypes(endianness="?"),
    hnp.timedelta64_dtypes(endianness="?"),
    hnp.unicode_string_dtypes(endianness="?", max_len=5),
    hnp.byte_string_dtypes(max_len=5),
)
arrays = dtypes.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


@settings(deadline=None, max_examples=150)
@given(arrays, st.booleans())
def test_any_plain_array_crosses_bit_for_bit(array, transposed):
    array = array.T if transposed else array
    message = DXO(DataKind.WEIGHTS, {"w": array, "deep": {"list": [1, (array,)]}})
    arrived = cross(message.to_shareable())["DXO"]["data"]
    assert same(arrived["w"], array)
    assert same(arrived["deep"]["list"][1][0], array)


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text()
        | st.floats(allow_nan=False) | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
        | st.tuples(inner, inner),
        max_leaves=12,
    )
)  # fmt: skip
def test_everything_else_crosses_as_it_is(value):
    assert cross(Shareable({"value": value}))["value"] == value


def test_arrays_have_the_names_people_gave_them():
    weights = {"conv1": {"w": np.ones(2), "b": np.ones(1)}, "head": [np.zeros(3)]}
    model, _ = encode(DXO(DataKind.WEIGHTS, weights).to_shareable())
    assert list(model) == ["conv1/w", "conv1/b", "head/0"]


def test_lifting_copies_nothing():
    array = np.arange(1000.0)
    model, body = encode(Shareable({"w": array}))
    assert np.shares_memory(model["w"].numpy(), array)
    arrived = decode(model, body)["w"]
    assert np.shares_memory(arrived, array)
    assert len(body) < 300


def test_an_array_in_two_places_is_sent_once_and_arrives_as_two():
    array = np.arange(4.0)
    model, body = encode(Shareable({"a": array, "b": array}))
    assert len(model) == 1
    arrived = decode(Model.parse(bytearray(model.to_bytes())), body)
    arrived["a"] += 1
    assert arrived["b"].tolist() == [0, 1, 2, 3]


def test_received_arrays_can_be_written_even_from_memory_that_cannot():
    model, body = encode(Shareable({"w": np.arange(3.0)}))
    arrived = decode(Model.parse(model.to_bytes()), body)["w"]
    arrived += 1
    assert arrived.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.array(["a", 1], dtype=object),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.ma.masked_array([1.0, 2.0], [True, False]),
        np.matrix([[1.0]]),
    ],
)
def test_arrays_that_would_lose_their_meaning_are_refused(array):
    with pytest.raises(InvalidModel, match="cannot be sent"):
        encode(Shareable({"w": array}))


def test_sparse_matrices_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(InvalidModel, match="sparse"):
        encode(Shareable({"w": sparse.csr_matrix(np.eye(3))}))


# -- attacks on the reader -----------------------------------------------------------------------


def fobs(type_name, data, decomposer=None):
    found = {"__fobs_type__": type_name, "__fobs_data__": data}
    return found | ({"__fobs_dc__": decomposer} if decomposer else {})


def array_as_bytes():
    import io

    out = io.BytesIO()
    np.save(out, np.ones(5))
    return out.getvalue()


@pytest.mark.parametrize(
    "hostile",
    [
        fobs("numpy.ndarray", array_as_bytes()),  # weights where no guard looks
        fobs("nvflare.fuel.utils.fobs.datum.DatumRef", {"datum_id": "x", "unwrap": True}),
        fobs(
            "nvflare.fuel.utils.fobs.decomposers.via_downloader.LazyDownloadRef",
            {"fqcn": "server", "ref_id": "r", "item_id": "i", "dot": 0},
        ),
        fobs("subprocess.Popen", {"args": ["true"]}),
        fobs("antigravity.Anything", {}, "nvflare.fuel.utils.fobs.decomposer.DataClassDecomposer"),
        fobs("numpy.float64", 1.0, "pickle.Unpickler") | {"__fobs_type__": "not.known"},
        fobs(["numpy.ndarray"], b""),
        fobs("nvflare.apis.dxo.DXO", 17),
        msgpack.ExtType(5, b"pickle"),
        msgpack.ExtType(70, b""),
        msgpack.ExtType(70, b"\xc1"),
        msgpack.ExtType(70, msgpack.packb(["missing", "", False])),
        msgpack.ExtType(70, msgpack.packb(["w", "|O", False])),
        msgpack.ExtType(70, msgpack.packb(["w", "<U2000000000", False])),
        msgpack.ExtType(70, msgpack.packb(["w", "<i4", False])),
        msgpack.ExtType(70, msgpack.packb(["w", "<M8[D]", False])),
        msgpack.ExtType(70, msgpack.packb(["w", "", False, "more"])),
    ],
)
def test_a_hostile_body_is_refused(hostile):
    model = Model.from_numpy({"w": np.ones(3)})
    with pytest.raises(InvalidMessage):
        decode(model, msgpack.packb({"v": hostile}))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x81", b"\x91" * 5000, b"\xdd\xff\xff\xff\xff"])
def test_a_damaged_body_is_refused(damage):
    with pytest.raises(InvalidMessage):
        decode(None, damage)


def test_tensors_that_no_place_of_the_message_uses_are_refused():
    with pytest.raises(InvalidMessage, match="does not name"):
        decode(Model.from_numpy({"extra": np.ones(3)}), msgpack.packb({}))
