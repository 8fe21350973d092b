"""Models: the safetensors layout, without copying what need not be copied."""

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedgate import Model, Tensor
from fedgate.errors import InvalidModel
from fedgate.model import ITEMSIZE, nbytes_of, numpy_dtype

NATIVE = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "c8"]
arrays = st.sampled_from(NATIVE).flatmap(
    lambda dtype: hnp.arrays(
        dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
models = st.dictionaries(names, arrays, max_size=5)
metadata = st.dictionaries(names, st.text(st.characters(exclude_categories=["Cs"])), max_size=3)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )


@given(models, metadata)
@settings(deadline=None)
def test_a_model_comes_back_bit_for_bit_in_its_order(given_arrays, given_metadata):
    model = Model.parse(Model.from_numpy(given_arrays, given_metadata).to_bytes())
    assert list(model) == list(given_arrays)
    assert all(same(array, given_arrays[name]) for name, array in model.numpy().items())
    assert model.metadata == given_metadata


@given(models)
@settings(deadline=None)
def test_the_safetensors_library_reads_what_we_write(given_arrays):
    theirs = safetensors.numpy.load(Model.from_numpy(given_arrays).to_bytes())
    assert theirs.keys() == given_arrays.keys()
    assert all(same(array, given_arrays[name]) for name, array in theirs.items())


@given(models)
@settings(deadline=None)
def test_we_read_what_the_safetensors_library_writes(given_arrays):
    given_arrays = {
        name: np.ascontiguousarray(a).reshape(a.shape) for name, a in given_arrays.items()
    }
    ours = Model.parse(safetensors.numpy.save(given_arrays, {"made": "there"}))
    assert ours.metadata == {"made": "there"}
    assert all(same(ours[name].numpy(), array) for name, array in given_arrays.items())
    assert ours.keys() == given_arrays.keys()


@pytest.mark.parametrize(
    ("numpy_type", "name"),
    [
        (ml_dtypes.bfloat16, "BF16"),
        (ml_dtypes.float8_e4m3fn, "F8_E4M3"),
        (ml_dtypes.float8_e5m2, "F8_E5M2"),
    ],
)
def test_types_that_numpy_lacks_pass_through_untouched(numpy_type, name):
    array = np.array([1.5, -2.0, np.nan, 0.0], dtype=numpy_type)
    model = Model.parse(Model.from_numpy({"w": array}).to_bytes())
    assert model["w"].dtype == name
    assert model["w"].numpy().dtype == array.dtype
    assert model["w"].numpy().tobytes() == array.tobytes()
    ((_, theirs),) = safetensors.deserialize(model.to_bytes())
    assert (theirs["dtype"], bytes(theirs["data"])) == (name, array.tobytes())


def test_reading_copies_nothing():
    array = np.arange(1000, dtype=np.float32)
    buffer = bytearray(Model.from_numpy({"w": array}).to_bytes())
    view = Model.parse(buffer)["w"].numpy()
    assert np.shares_memory(view, np.frombuffer(buffer, np.uint8))
    assert view.flags.writeable
    buffer[-4:] = np.float32(-1).tobytes()
    assert view[-1] == -1


def test_a_model_on_a_read_only_buffer_is_read_only():
    data = Model.from_numpy({"w": np.ones(3)}).to_bytes()
    assert not Model.parse(data)["w"].numpy().flags.writeable


def test_making_a_model_of_contiguous_arrays_copies_nothing():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensor = Tensor.from_numpy(array)
    assert np.shares_memory(tensor.numpy(), array)
    pieces = list(Model({"w": tensor}).pieces())
    assert len(pieces) == 2
    assert np.shares_memory(np.frombuffer(pieces[1], np.uint8), array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(12, dtype=np.float32)[::-2],
        np.arange(6, dtype=">f4"),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(3.5),
        np.zeros((3, 0, 2), np.int8),
        np.broadcast_to(np.float32(1), (2, 2)),
    ],
)
def test_any_memory_layout_becomes_the_same_values(array):
    tensor = Tensor.from_numpy(array)
    assert tensor.shape == array.shape
    assert np.array_equal(tensor.numpy(), array)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([object()]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "c16"),
        np.zeros(2, "i4,f4"),
        np.zeros(2, "longdouble"),
    ],
)
def test_arrays_that_are_no_tensors_are_refused_with_a_remedy(array):
    with pytest.raises(InvalidModel, match="opaque bytes"):
        Tensor.from_numpy(array)


def test_data_starts_aligned_so_that_views_are_fast():
    for count in range(1, 40):
        model = Model.from_numpy({"n" * count: np.zeros(2)})
        assert len(model.header()) % 64 == 0


def test_the_header_depends_on_names_dtypes_and_shapes_alone():
    one, other = Model.from_numpy({"w": np.zeros(4)}), Model.from_numpy({"w": np.ones(4)})
    assert one.header() == other.header()
    assert b"".join(one.pieces()) == one.to_bytes()
    assert one.nbytes == 32


def test_a_signature_does_not_depend_on_the_order_of_tensors():
    a, b = np.zeros(2, np.float32), np.zeros((2, 2))
    assert (
        Model.from_numpy({"a": a, "b": b}).signature()
        == Model.from_numpy({"b": b, "a": a}).signature()
    )
    assert Model.from_numpy({"a": a}).signature() != Model.from_numpy({"a": a[:1]}).signature()


def test_a_tensor_must_have_the_bytes_that_its_shape_needs():
    with pytest.raises(InvalidModel, match="needs 8 bytes"):
        Tensor("F32", (2,), memoryview(bytes(7)))


@pytest.mark.parametrize("dtype", ITEMSIZE)
def test_every_dtype_has_its_size_in_numpy_too(dtype):
    assert numpy_dtype(dtype).itemsize == ITEMSIZE[dtype] == nbytes_of(dtype, ())


@pytest.mark.parametrize("name", ["__metadata__", "x" * 1025, "\ud800", 7])
def test_a_model_with_an_impossible_name_cannot_be_written(name):
    with pytest.raises(InvalidModel):
        Model({name: Tensor("U8", (0,), memoryview(b""))}).to_bytes()


@pytest.mark.parametrize("bad", [{"a": 1}, {1: "a"}, {"\ud800": "a"}, {"a": "\udfff"}])
def test_metadata_that_is_no_text_cannot_be_written(bad):
    with pytest.raises(InvalidModel, match="metadata"):
        Model({}, bad).to_bytes()


def test_an_empty_model_is_a_model():
    assert dict(Model.parse(Model().to_bytes())) == {}
