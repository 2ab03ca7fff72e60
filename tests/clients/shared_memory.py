"""System shared memory with tritonclient. `python shared_memory.py ADDRESS`

`wide` gives twice its 150,528 FP32 values (602 KB, an image of 3 × 224 × 224).
"""

import contextlib
import os
import sys
import uuid

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.utils.shared_memory as shm
from checks import check, expect, run
from tritonclient.utils import InferenceServerException

CLIENT = grpcclient.InferenceServerClient(sys.argv[1])
ELEMENTS = 3 * 224 * 224
BYTES = 4 * ELEMENTS
DATA = np.random.default_rng(3).random((1, ELEMENTS), dtype=np.float32)


@contextlib.contextmanager
def region(byte_size, data=None):
    """A new region, registered under its name; yields its handle and name."""
    name = f"bcedge-test-{uuid.uuid4().hex[:12]}"
    handle = shm.create_shared_memory_region(name, "/" + name, byte_size)
    try:
        if data is not None:
            shm.set_shared_memory_region(handle, [data])
        CLIENT.register_system_shared_memory(name, "/" + name, byte_size)
        yield handle, name
    finally:
        CLIENT.unregister_system_shared_memory(name)
        shm.destroy_shared_memory_region(handle)


def shared_input(name, byte_size=BYTES, offset=0):
    tensor = grpcclient.InferInput("INPUT0", [1, ELEMENTS], "FP32")
    tensor.set_shared_memory(name, byte_size, offset)
    return [tensor]


def shared_output(name, byte_size=BYTES, offset=0):
    tensor = grpcclient.InferRequestedOutput("OUTPUT0")
    tensor.set_shared_memory(name, byte_size, offset)
    return [tensor]


def refused(text, call, *arguments, **options):
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        assert error.status() in (
            "StatusCode.INVALID_ARGUMENT",
            "StatusCode.NOT_FOUND",
            "StatusCode.ALREADY_EXISTS",
        ), error
        assert text in error.message(), f"no {text!r} in {error.message()!r}"
        return
    raise AssertionError("not refused")


@check
def input_and_output_in_shared_memory():
    with region(BYTES, DATA) as (_, source), region(BYTES) as (target_handle, target):
        for _ in range(3):
            result = CLIENT.infer("wide", shared_input(source), outputs=shared_output(target))
            output = result.get_output("OUTPUT0")
            expect(list(output.shape), [1, ELEMENTS])
            # One empty entry for every output that went there, as Triton's own clients index it.
            expect(list(result.get_response().raw_output_contents), [b""])
            values = shm.get_contents_as_numpy(target_handle, np.float32, [1, ELEMENTS])
            np.testing.assert_array_equal(values, 2 * DATA)
            values[:] = 0


@check
def input_in_shared_memory_and_output_inline():
    with region(BYTES, DATA) as (_, source):
        result = CLIENT.infer("wide", shared_input(source))
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), 2 * DATA)


@check
def two_halves_of_one_region():
    with region(2 * BYTES, DATA) as (handle, name):
        CLIENT.infer("wide", shared_input(name), outputs=shared_output(name, BYTES, BYTES))
        values = shm.get_contents_as_numpy(handle, np.float32, [2, ELEMENTS])
        np.testing.assert_array_equal(values[1:], 2 * DATA)
        np.testing.assert_array_equal(values[:1], DATA)


@check
def the_status_lists_what_is_registered():
    with region(BYTES) as (_, name):
        regions = CLIENT.get_system_shared_memory_status().regions
        expect(regions[name].byte_size, BYTES)
        expect(regions[name].key, "/" + name)
        refused(name, CLIENT.register_system_shared_memory, name, "/" + name, BYTES)
    assert name not in CLIENT.get_system_shared_memory_status().regions


@check
def what_lies_outside_a_region_is_refused():
    with region(BYTES, DATA) as (_, name):
        refused(name, CLIENT.infer, "wide", shared_input(name, BYTES, 4))
        refused("INPUT0", CLIENT.infer, "wide", shared_input(name, BYTES - 4))
        refused("nothing", CLIENT.infer, "wide", shared_input("nothing"))
    for key in ["/../etc/passwd", "/a/b", ".."]:
        refused("", CLIENT.register_system_shared_memory, "bad", key, 16)
    refused("", CLIENT.register_system_shared_memory, "bad", "/bcedge-test-not-there", 16)


@check
def a_region_larger_than_its_file_is_refused():
    with region(4096) as (_, name):
        refused("", CLIENT.register_system_shared_memory, "more", "/" + name, 1 << 20)


@check
def a_file_truncated_after_registration_fails_only_its_own_request():
    with region(BYTES, DATA) as (_, name):
        os.truncate("/dev/shm/" + name, 4096)
        try:
            refused(name, CLIENT.infer, "wide", shared_input(name))
        finally:
            os.truncate("/dev/shm/" + name, BYTES)
        tensor = grpcclient.InferInput("INPUT0", [1, ELEMENTS], "FP32")
        tensor.set_data_from_numpy(DATA)
        result = CLIENT.infer("wide", [tensor])
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), 2 * DATA)


@check
def cuda_shared_memory_can_be_unregistered_though_there_is_none():
    CLIENT.unregister_cuda_shared_memory()
    CLIENT.unregister_system_shared_memory()
    expect(len(CLIENT.get_system_shared_memory_status().regions), 0)


run()
