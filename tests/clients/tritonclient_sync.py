"""tritonclient's blocking gRPC client. `python tritonclient_sync.py ADDRESS [RELATIVE_ADDRESS]`

The models are those of tests/clients.rs: `double` (ONNX) and `slow` give twice their sixteen FP32
values, `slow` after 300 ms with a queue of four, `spare` is not loaded.
"""

import sys
import threading
import time

import numpy as np
import tritonclient.grpc as grpcclient
from checks import check, expect, run
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]
CLIENT = grpcclient.InferenceServerClient(ADDRESS)
DATA = np.arange(16, dtype=np.float32).reshape(1, 16)


def inputs(data=DATA, name="INPUT0"):
    tensor = grpcclient.InferInput(name, data.shape, "FP32")
    tensor.set_data_from_numpy(data)
    return [tensor]


def infer(model="double", data=DATA, client=CLIENT, **options):
    result = client.infer(model, inputs(data), **options)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), 2 * data)
    return result


def refused(status, text, call, *arguments, **options):
    """The call must fail with this gRPC status, and the message must have `text` in it."""
    try:
        call(*arguments, **options)
    except InferenceServerException as error:
        expect(error.status(), f"StatusCode.{status}", error.message())
        assert text in error.message(), f"no {text!r} in {error.message()!r}"
        return
    raise AssertionError(f"not refused with {status}")


def parameter(result, name):
    value = result.get_response().parameters[name]
    return getattr(value, value.WhichOneof("parameter_choice"))


def statistics(model="double"):
    (model_statistics,) = CLIENT.get_inference_statistics(model).model_stats
    return model_statistics


@check
def is_live_and_ready():
    assert CLIENT.is_server_live()
    assert CLIENT.is_server_ready()
    assert CLIENT.is_model_ready("double")
    assert not CLIENT.is_model_ready("spare")
    assert not CLIENT.is_model_ready("nobody")


@check
def server_metadata_names_the_extensions():
    metadata = CLIENT.get_server_metadata()
    assert metadata.name and metadata.version, metadata
    for extension in ["statistics", "model_repository", "system_shared_memory", "schedule_policy"]:
        assert extension in metadata.extensions, metadata


@check
def model_metadata_and_configuration_agree():
    metadata = CLIENT.get_model_metadata("double")
    expect(
        [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs],
        [("INPUT0", "FP32", [-1, 16])],
    )
    expect(
        [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs],
        [("OUTPUT0", "FP32", [-1, 16])],
    )
    config = CLIENT.get_model_config("double").config
    expect((config.name, config.max_batch_size), ("double", 8))
    expect([(t.name, list(t.dims)) for t in config.input], [("INPUT0", [16])])
    expect([(t.name, list(t.dims)) for t in config.output], [("OUTPUT0", [16])])
    CLIENT.get_model_config("double", as_json=True)


@check
def infers_one_item_and_a_full_batch():
    result = infer(request_id="seventeen")
    expect(result.get_response().id, "seventeen")
    expect(result.get_response().model_name, "double")
    infer(data=np.random.default_rng(1).random((8, 16), dtype=np.float32))


@check
def infers_the_outputs_that_are_asked_for():
    infer(outputs=[grpcclient.InferRequestedOutput("OUTPUT0")])
    wrong = [grpcclient.InferRequestedOutput("OUTPUT9")]
    refused("INVALID_ARGUMENT", "OUTPUT9", CLIENT.infer, "double", inputs(), outputs=wrong)


@check
def takes_slo_timeout_and_priority():
    result = infer(parameters={"slo_us": 30_000_000}, timeout=20_000_000, priority=1)
    expect(parameter(result, "slo_met"), True)
    for name in ["queue_us", "compute_us", "instance"]:
        assert parameter(result, name) >= 0, name
    assert 1 <= parameter(result, "batch") <= 8


@check
def infers_twice_the_input_from_eight_threads():
    clients = [grpcclient.InferenceServerClient(ADDRESS) for _ in range(8)]
    failures = []

    def work(client, seed):
        try:
            for i in range(20):
                infer(data=np.full((1, 16), 100 * seed + i, dtype=np.float32), client=client)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(c, i)) for i, c in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(failures, [])


@check
def statistics_grow_with_every_request():
    before = statistics()
    for _ in range(5):
        infer()
    after = statistics()
    expect(after.inference_stats.success.count - before.inference_stats.success.count, 5, "success")
    expect(after.inference_stats.queue.count - before.inference_stats.queue.count, 5, "queue")
    expect(after.inference_count - before.inference_count, 5, "inference_count")
    assert 1 <= after.execution_count - before.execution_count <= 5
    assert after.inference_stats.success.ns > before.inference_stats.success.ns


@check
def refuses_what_does_not_fit_the_model():
    refused("NOT_FOUND", "nobody", CLIENT.infer, "nobody", inputs())
    refused(
        "INVALID_ARGUMENT", "INPUT0", CLIENT.infer, "double", inputs(np.zeros((1, 17), np.float32))
    )
    refused("INVALID_ARGUMENT", "8", CLIENT.infer, "double", inputs(np.zeros((9, 16), np.float32)))
    refused("INVALID_ARGUMENT", "INPUT7", CLIENT.infer, "double", inputs(name="INPUT7"))
    integers = grpcclient.InferInput("INPUT0", [1, 16], "INT64")
    integers.set_data_from_numpy(np.zeros((1, 16), np.int64))
    refused("INVALID_ARGUMENT", "INT64", CLIENT.infer, "double", [integers])
    short = grpcclient.InferInput("INPUT0", [1, 16], "FP32")
    short.set_data_from_numpy(DATA)
    short._raw_content = short._raw_content[:60]
    refused("INVALID_ARGUMENT", "60", CLIENT.infer, "double", [short])
    refused("NOT_FOUND", "nobody", CLIENT.get_model_metadata, "nobody")
    refused("NOT_FOUND", "nobody", CLIENT.get_model_config, "nobody")
    refused("NOT_FOUND", "nobody", CLIENT.get_inference_statistics, "nobody")


@check
def refuses_what_can_not_be_in_time():
    options = {"parameters": {"slo_us": 1}}
    refused("DEADLINE_EXCEEDED", "", CLIENT.infer, "slow", inputs(), **options)
    # The first one keeps the only instance busy for longer than the second may wait.
    first = Background("slow")
    refused("DEADLINE_EXCEEDED", "", CLIENT.infer, "slow", inputs(), timeout=1000)
    expect(first.error(), None)


class Background:
    """A request under way."""

    def __init__(self, model, **options):
        self.done = threading.Event()
        self.call = CLIENT.async_infer(model, inputs(), self.finish, **options)
        # The server must have it before the caller goes on.
        time.sleep(0.05)

    def finish(self, result, error):
        self.result, self.failure = result, error
        self.done.set()

    def error(self):
        assert self.done.wait(20), "no answer within 20 s"
        if self.failure is None:
            np.testing.assert_array_equal(self.result.as_numpy("OUTPUT0"), 2 * DATA)
            return None
        return self.failure.status()


@check
def a_full_queue_refuses_and_a_cancelled_request_frees_its_place():
    running = Background("slow")
    waiting = [Background("slow", timeout=60_000_000) for _ in range(4)]
    refused("RESOURCE_EXHAUSTED", "4", CLIENT.infer, "slow", inputs())
    for request in waiting:
        request.call.cancel()
    expect([request.error() for request in waiting], ["StatusCode.CANCELLED"] * 4)
    expect(running.error(), None)
    # With the four still queued the last of these would find no place.
    later = [Background("slow") for _ in range(4)]
    expect([request.error() for request in later], [None] * 4)


@check
def a_client_side_timeout_ends_the_call():
    refused("DEADLINE_EXCEEDED", "", CLIENT.infer, "slow", inputs(), client_timeout=0.05)
    infer("slow")


@check
def repository_index_load_and_unload():
    def states():
        return {model.name: model.state for model in CLIENT.get_model_repository_index().models}

    before = states()
    expect(sorted(before), ["double", "slow", "spare", "wide"])
    expect(sorted(name for name in before if before[name] == "READY"), ["double", "slow", "wide"])
    refused("UNAVAILABLE", "spare", CLIENT.infer, "spare", inputs())
    CLIENT.load_model("spare")
    expect(states()["spare"], "READY")
    assert CLIENT.is_model_ready("spare")
    infer("spare")
    CLIENT.unload_model("spare")
    expect(states()["spare"], "UNAVAILABLE")
    refused("UNAVAILABLE", "spare", CLIENT.infer, "spare", inputs())
    refused("NOT_FOUND", "nobody", CLIENT.load_model, "nobody")


@check
def logging_settings_can_be_read_and_trace_settings_are_unsupported():
    CLIENT.get_log_settings()
    refused("UNIMPLEMENTED", "trace", CLIENT.get_trace_settings)


@check
def a_relative_path_and_a_plain_absolute_one_work():
    for address in sys.argv[2:]:
        infer(client=grpcclient.InferenceServerClient(address))


run()
