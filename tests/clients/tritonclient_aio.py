"""tritonclient's asyncio gRPC client and its streams. `python tritonclient_aio.py ADDRESS`"""

import asyncio
import queue
import sys

import numpy as np
import tritonclient.grpc as grpcclient
import tritonclient.grpc.aio as aioclient
from checks import check, expect, run
from tritonclient.utils import InferenceServerException

ADDRESS = sys.argv[1]


def inputs(data):
    tensor = grpcclient.InferInput("INPUT0", data.shape, "FP32")
    tensor.set_data_from_numpy(data)
    return [tensor]


def row(value):
    return np.full((1, 16), value, dtype=np.float32)


@check
async def aio_health_metadata_and_statistics():
    async with aioclient.InferenceServerClient(ADDRESS) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("double")
        expect((await client.get_model_metadata("double")).inputs[0].name, "INPUT0")
        expect((await client.get_model_config("double")).config.max_batch_size, 8)
        await client.infer("double", inputs(row(1)))
        (statistics,) = (await client.get_inference_statistics("double")).model_stats
        assert statistics.inference_stats.queue.count > 0


@check
async def aio_sixty_four_requests_at_once_are_each_answered_with_their_own_result():
    async with aioclient.InferenceServerClient(ADDRESS) as client:
        data = [row(i) for i in range(64)]
        answers = await asyncio.gather(*(client.infer("double", inputs(d)) for d in data))
        for sent, answer in zip(data, answers):
            np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), 2 * sent)


@check
async def aio_errors_carry_their_status():
    async with aioclient.InferenceServerClient(ADDRESS) as client:
        for model, parameters, wanted in [
            ("nobody", {}, "StatusCode.NOT_FOUND"),
            ("slow", {"slo_us": 1}, "StatusCode.DEADLINE_EXCEEDED"),
        ]:
            try:
                await client.infer(model, inputs(row(1)), parameters=parameters)
                raise AssertionError(f"{model} not refused")
            except InferenceServerException as error:
                expect(error.status(), wanted, error.message())


@check
async def aio_a_cancelled_call_leaves_the_connection_usable():
    async with aioclient.InferenceServerClient(ADDRESS) as client:
        task = asyncio.create_task(client.infer("slow", inputs(row(1))))
        await asyncio.sleep(0.05)
        task.cancel()
        outcome = (await asyncio.gather(task, return_exceptions=True))[0]
        assert isinstance(outcome, (asyncio.CancelledError, InferenceServerException)), outcome
        answer = await client.infer("double", inputs(row(3)))
        np.testing.assert_array_equal(answer.as_numpy("OUTPUT0"), row(6))


@check
async def aio_stream_answers_every_request_under_its_id():
    async with aioclient.InferenceServerClient(ADDRESS) as client:

        async def requests():
            for i in range(32):
                yield {"model_name": "double", "inputs": inputs(row(i)), "request_id": str(i)}

        seen = set()
        answers = client.stream_infer(requests())
        async for result, error in answers:
            assert error is None, error
            number = int(result.get_response().id)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), row(2 * number))
            seen.add(number)
            if len(seen) == 32:
                answers.cancel()
                break
        expect(seen, set(range(32)))


def stream(client):
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    return answers


@check
def sync_stream_answers_every_request_under_its_id():
    with grpcclient.InferenceServerClient(ADDRESS) as client:
        answers = stream(client)
        for i in range(32):
            client.async_stream_infer("double", inputs(row(i)), request_id=str(i))
        seen = set()
        for _ in range(32):
            result, error = answers.get(timeout=20)
            assert error is None, error
            number = int(result.get_response().id)
            np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), row(2 * number))
            seen.add(number)
        expect(seen, set(range(32)))


@check
def sync_stream_goes_on_after_a_request_that_failed():
    with grpcclient.InferenceServerClient(ADDRESS) as client:
        answers = stream(client)
        client.async_stream_infer("nobody", inputs(row(1)))
        _, error = answers.get(timeout=20)
        assert error is not None and "nobody" in error.message(), error
        client.async_stream_infer("double", inputs(row(2)))
        result, error = answers.get(timeout=20)
        assert error is None, error
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), row(4))


@check
def sync_stream_marks_the_final_response_when_asked():
    with grpcclient.InferenceServerClient(ADDRESS) as client:
        answers = stream(client)
        client.async_stream_infer("double", inputs(row(5)), enable_empty_final_response=True)
        result, error = answers.get(timeout=20)
        assert error is None, error
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), row(10))
        final = result.get_response().parameters["triton_final_response"]
        assert final.bool_param, "the only response is the final one"


run()
