"""Records become a model and a description, and come back bit by bit."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import msgpack
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgate.model import Model
from fedgate_flower import _flwr_private as private
from fedgate_flower.arrays import ReceivedArray
from fedgate_flower.records import Lifter, restore, tensor_name

PLAIN = ["?", "u1", "i1", "<i2", "<u2", "<f2", "<i4", "<f4", "<i8", "<u8", "<f8", "<c8"]
SWAPPED = [">i2", ">f2", ">i4", ">f4", ">u8", ">f8", ">c8"]
EXOTIC = ["<c16", "<U3", "S4", "<M8[s]", [("a", "<f4"), ("b", "<i2")], "V5"]


def crossed(content: RecordDict) -> RecordDict:
    """As over the wire: everything is bytes in between."""
    model, description = Lifter().take_apart(content)
    packed = msgpack.packb(description)
    received = None if model is None else Model.parse(bytearray(model.to_bytes()))
    return restore(msgpack.unpackb(packed), received)


def same_array(mine: Array, stock: Array) -> None:
    assert (mine.dtype, mine.shape, mine.stype) == (stock.dtype, tuple(stock.shape), stock.stype)
    assert mine.data == stock.data
    if stock.stype == "numpy.ndarray":
        ours, theirs = mine.numpy(), stock.numpy()
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.flags.f_contiguous == theirs.flags.f_contiguous
        assert ours.flags.writeable
        assert ours.tobytes() == theirs.tobytes()


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    kinds: list[Any] = PLAIN + SWAPPED + EXOTIC
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize
    if dtype.kind == "U":  # numpy must be able to print what it holds
        return np.full(shape, "aé∑", dtype)
    raw = draw(st.binary(min_size=size, max_size=size))  # any bits: NaNs, denormals, odd booleans
    array = np.frombuffer(raw, dtype).reshape(shape) if size else np.zeros(shape, dtype)
    match draw(st.sampled_from(["C", "F", "strided"])):
        case "F":
            return np.asfortranarray(array) if array.ndim else array
        case "strided" if array.ndim:
            return np.repeat(array, 2, axis=0)[::2]
    return array


values = st.one_of(
    st.booleans(), st.integers(-(1 << 63), (1 << 64) - 1), st.floats(), st.text(), st.binary()
)
numbers = st.one_of(st.integers(-(1 << 63), (1 << 64) - 1), st.floats())
names = st.text(max_size=8)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=150)
@given(st.dictionaries(names, st.dictionaries(names, arrays(), max_size=3), max_size=3))
def test_every_array_comes_back_bit_by_bit(records: dict[str, dict[str, np.ndarray]]) -> None:
    content = RecordDict(
        {r: ArrayRecord({n: Array(a) for n, a in named.items()}) for r, named in records.items()}
    )
    back = crossed(content)
    assert list(back) == list(content)
    for name, record in content.items():
        assert list(back[name]) == list(record)
        for key, array in record.items():
            same_array(back[name][key], array)
    twice = crossed(back)  # a received record can be sent on
    for name, record in content.items():
        for key, array in record.items():
            same_array(twice[name][key], array)


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(names, st.one_of(values, st.lists(st.text()), st.lists(st.binary()))),
    st.dictionaries(names, st.one_of(numbers, st.lists(st.floats()))),
)
def test_configs_and_metrics_come_back_with_their_types(
    config: dict[str, Any], metrics: dict[str, Any]
) -> None:
    content = RecordDict({"c": ConfigRecord(config), "m": MetricRecord(metrics)})
    back = crossed(content)
    assert list(back) == ["c", "m"]
    assert isinstance(back["c"], ConfigRecord)
    assert isinstance(back["m"], MetricRecord)
    for name in ("c", "m"):
        assert repr(dict(back[name])) == repr(dict(content[name]))  # tells 1, 1.0 and True apart


@given(st.tuples(names, names), st.tuples(names, names))
def test_two_arrays_never_share_a_tensor_name(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert (tensor_name(*a) == tensor_name(*b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"), [(("x/y", "z"), ("x", "y/z")), (("%2F", ""), ("/", "")), (("", "/"), ("/", ""))]
)
def test_slashes_in_names_do_not_collide(a: tuple[str, str], b: tuple[str, str]) -> None:
    assert tensor_name(*a) != tensor_name(*b)


def test_very_long_names_stay_different_and_fit_into_a_model() -> None:
    content = RecordDict(
        {"r": ArrayRecord({"x" * 5000 + end: Array(np.ones(2)) for end in ("a", "b")})}
    )
    back = crossed(content)
    assert list(back["r"]) == list(content["r"])


def test_plain_arrays_are_sent_from_the_memory_they_lie_in() -> None:
    array = Array(np.arange(1000, dtype=np.float32))
    model, _ = Lifter().take_apart(RecordDict({"a": ArrayRecord({"w": array})}))
    assert model is not None
    stored = model["a/w"].data.obj
    # ArrayRecord(dict) makes new Arrays on the same bytes
    assert stored is array.data


def test_layouts_compare_across_sites_by_logical_shape() -> None:
    c_order = np.arange(12, dtype=np.float32).reshape(3, 4)
    for other in (np.asfortranarray(c_order), c_order.astype(">f4")):
        content = RecordDict({"a": ArrayRecord({"w": Array(other)})})
        model, _ = Lifter().take_apart(content)
        assert model is not None
        assert (model["a/w"].dtype, model["a/w"].shape) == ("F32", (3, 4))
        assert np.array_equal(model["a/w"].numpy(), c_order)


def test_bfloat16_is_a_tensor_of_its_own_dtype() -> None:
    import ml_dtypes

    array = Array(np.array([1.5, -2, 3], ml_dtypes.bfloat16))
    content = RecordDict({"a": ArrayRecord({"w": array})})
    model, _ = Lifter().take_apart(content)
    assert model is not None
    assert model["a/w"].dtype == "BF16"
    assert model["a/w"].numpy().tolist() == [1.5, -2, 3]
    same_array(crossed(content)["a"]["w"], array)


@pytest.mark.parametrize(
    "array",
    [
        Array(dtype="float32", shape=(2,), stype="my.format", data=b"anything"),
        Array(dtype="", shape=(), stype="numpy.ndarray", data=b""),
        Array(dtype="float32", shape=(9,), stype="numpy.ndarray", data=b"\x93NUMPY\x01\x00\xff"),
    ],
    ids=["foreign", "empty", "broken"],
)
def test_data_that_is_no_npy_file_travels_as_opaque_bytes(array: Array) -> None:
    back = crossed(RecordDict({"a": ArrayRecord({"w": array})}))["a"]["w"]
    assert (back.dtype, back.shape, back.stype, back.data) == (
        array.dtype, array.shape, array.stype, array.data,
    )  # fmt: skip


def test_legacy_parameters_without_dtype_and_shape_are_lifted_by_their_header() -> None:
    data = Array(np.ones((2, 3), np.float32)).data
    array = Array(dtype="", shape=(), stype="numpy.ndarray", data=data)
    content = RecordDict({"fitins.parameters": ArrayRecord({"0": array})})
    model, _ = Lifter().take_apart(content)
    assert model is not None
    assert model["%parameters/0"].shape == (2, 3)
    same_array(crossed(content)["fitins.parameters"]["0"], array)


def test_a_pickle_inside_an_array_is_never_executed(tmp_path: Any) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("owned").write_text, ("!",))

    out = io.BytesIO()
    np.lib.format.write_array(out, np.array([Attack()], dtype=object), allow_pickle=True)
    hostile = Array(dtype="object", shape=(1,), stype="numpy.ndarray", data=out.getvalue())
    back = crossed(RecordDict({"a": ArrayRecord({"w": hostile})}))["a"]["w"]
    with pytest.raises(ValueError, match="allow_pickle"):
        back.numpy()
    assert not (tmp_path / "owned").exists()


# -- received arrays behave like Flower's ----


@pytest.fixture
def received() -> Callable[[np.ndarray], Array]:
    def make(array: np.ndarray) -> Array:
        back = crossed(RecordDict({"a": ArrayRecord({"w": Array(array)})}))["a"]["w"]
        assert isinstance(back, ReceivedArray)
        return back

    return make


def test_every_numpy_call_gives_an_array_of_its_own(received: Callable[..., Array]) -> None:
    array = received(np.zeros(4))
    first = array.numpy()
    first += 1  # as an app trains in place
    assert array.numpy().tolist() == [0, 0, 0, 0]
    assert np.load(io.BytesIO(array.data)).tolist() == [0, 0, 0, 0]


def test_what_flowers_mean_borrows_cannot_be_written(received: Callable[..., Array]) -> None:
    array = received(np.zeros(4))
    with private._borrow():
        borrowed = array.numpy()
    with pytest.raises(ValueError, match="read-only"):
        borrowed += 1
    assert array.numpy().flags.writeable


def test_received_arrays_equal_copy_and_pickle_like_stock_ones(
    received: Callable[..., Array],
) -> None:
    stock = Array(np.arange(6.0).reshape(2, 3))
    mine = received(np.arange(6.0).reshape(2, 3))
    assert mine == stock
    assert stock == mine
    assert mine != Array(np.zeros(3))
    assert copy.deepcopy(mine) == stock
    assert type(copy.deepcopy(mine)) is Array
    assert pickle.loads(pickle.dumps(mine)) == stock
    assert mine.object_id == stock.object_id
    assert repr(mine) == repr(stock)


def test_setting_the_data_of_a_received_array_works(received: Callable[..., Array]) -> None:
    mine = received(np.zeros(3))
    mine.data = Array(np.ones(3)).data
    assert mine.numpy().tolist() == [1, 1, 1]
    model, _ = Lifter().take_apart(RecordDict({"a": ArrayRecord({"w": mine})}))
    assert model is not None
    assert model["a/w"].numpy().tolist() == [1, 1, 1]


def test_arrays_are_saved_with_the_bytes_numpy_would_write(monkeypatch: Any) -> None:
    stock = Array.__dict__["from_numpy_ndarray"]
    big = np.random.default_rng(0).standard_normal((300, 200))
    cases = [
        big, big.astype("<f4"), np.asfortranarray(big), big.T, big[::2], big[:, ::3],
        big.astype(">f8"), big.astype("c16"), big > 0, big.astype("f2"), big[:0], np.array(1.0),
        np.zeros(9000, "M8[s]"), np.matrix(big),
    ]  # fmt: skip
    expected = [Array(case).data for case in cases]
    monkeypatch.setattr(Array, "from_numpy_ndarray", stock)
    private.save_arrays_with_one_copy()
    assert Array.__dict__["from_numpy_ndarray"] is not stock
    for case, data in zip(cases, expected, strict=True):
        made = Array(case)
        assert made.data == data
        assert (made.dtype, made.shape) == (str(case.dtype), case.shape)


# -- sharing ----


def test_messages_with_the_same_arrays_share_one_model() -> None:
    lifter = Lifter()
    arrays = ArrayRecord({"w": Array(np.ones(4))})
    first, _ = lifter.take_apart(RecordDict({"arrays": arrays, "c": ConfigRecord({"round": 1})}))
    second, _ = lifter.take_apart(RecordDict({"arrays": arrays, "c": ConfigRecord({"round": 2})}))
    assert first is second


def test_changed_arrays_are_another_model_even_in_the_same_record() -> None:
    lifter = Lifter()
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(4))})})
    first, _ = lifter.take_apart(content)
    content["arrays"]["w"] = Array(np.zeros(4))
    second, _ = lifter.take_apart(content)
    assert first is not None
    assert second is not None
    assert first is not second
    assert second["arrays/w"].numpy().tolist() == [0, 0, 0, 0]


def test_arrays_in_memory_that_can_change_are_never_shared() -> None:
    lifter = Lifter()
    array = Array(np.ones(4))
    array.data = bytearray(array.data)  # type: ignore[assignment]
    content = RecordDict({"arrays": ArrayRecord()})
    content["arrays"]["w"] = array
    first, _ = lifter.take_apart(content)
    second, _ = lifter.take_apart(content)
    assert first is not second


def test_a_forgotten_model_is_made_anew() -> None:
    lifter = Lifter()
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(4))})})
    first, _ = lifter.take_apart(content)
    lifter.forget(first)
    assert lifter.take_apart(content)[0] is not first


def test_a_reply_of_the_older_style_names_its_arrays_as_its_instruction_did() -> None:
    arrays = ArrayRecord({"0": Array(np.ones(3))})
    names = []
    for record in ("fitins.parameters", "fitres.parameters"):
        content = RecordDict({record: arrays})
        model, description = Lifter().take_apart(content)
        assert model is not None
        names.append(list(model))
        assert list(restore(description, model)) == [record]
    assert names[0] == names[1]
    both = RecordDict(
        {"fitins.parameters": arrays, "fitres.parameters": ArrayRecord({"0": Array(np.zeros(3))})}
    )
    model, description = Lifter().take_apart(both)  # two in one message stay apart
    restored = restore(description, model)
    assert all(restored[name]["0"].data == both[name]["0"].data for name in both)
