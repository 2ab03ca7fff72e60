"""kserve's gRPC client and its REST client. `python kserve_clients.py ADDRESS SOCKET`"""

import sys

import grpc
import httpx
import numpy as np
from checks import check, expect, run
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig

ADDRESS, SOCKET = sys.argv[1:]
DATA = np.arange(32, dtype=np.float32).reshape(2, 16)


def request(binary=True, model="double", data=DATA, **options):
    tensor = InferInput("INPUT0", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data, binary_data=binary)
    return InferRequest(model_name=model, infer_inputs=[tensor], **options)


def doubled(response):
    (output,) = response.outputs
    expect((output.name, output.datatype, list(output.shape)), ("OUTPUT0", "FP32", [2, 16]))
    np.testing.assert_array_equal(output.as_numpy(), 2 * DATA)


def rest_client():
    transport = httpx.AsyncHTTPTransport(uds=SOCKET)
    return InferenceRESTClient(RESTConfig(transport=transport, protocol="v2", retries=0))


@check
async def grpc_health():
    async with InferenceGRPCClient(ADDRESS, retries=0) as client:
        expect(await client.is_server_live(), True)
        expect(await client.is_server_ready(), True)
        expect(await client.is_model_ready("double"), True)


@check
async def grpc_infer():
    async with InferenceGRPCClient(ADDRESS, retries=0) as client:
        for binary in [True, False]:
            doubled(await client.infer(request(binary)))


@check
async def grpc_errors():
    async with InferenceGRPCClient(ADDRESS, retries=0) as client:
        for wrong, status in [
            (request(model="nobody"), grpc.StatusCode.NOT_FOUND),
            (request(data=DATA[:, :4]), grpc.StatusCode.INVALID_ARGUMENT),
            (
                request(model="slow", data=DATA[:1], parameters={"slo_us": 1}),
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ),
        ]:
            try:
                await client.infer(wrong)
                raise AssertionError("not refused")
            except grpc.RpcError as error:
                expect(error.code(), status, error.details())


@check
async def rest_health():
    async with rest_client() as client:
        expect(await client.is_server_live("http://localhost"), True)
        expect(await client.is_server_ready("http://localhost"), True)
        expect(await client.is_model_ready("http://localhost", "double"), True)
        expect(await client.is_model_ready("http://localhost", "nobody"), False)


@check
async def rest_infer_with_json_and_with_binary_tensors():
    async with rest_client() as client:
        for binary in [False, True]:
            doubled(await client.infer("http://localhost", request(binary), model_name="double"))


@check
async def rest_errors():
    async with rest_client() as client:
        for wrong, model, status in [
            (request(False, model="nobody"), "nobody", 404),
            (request(False, data=DATA[:, :4]), "double", 400),
            (request(False, model="slow", data=DATA[:1], parameters={"slo_us": 1}), "slow", 504),
        ]:
            try:
                await client.infer("http://localhost", wrong, model_name=model)
                raise AssertionError("not refused")
            except httpx.HTTPStatusError as error:
                expect(error.response.status_code, status, error.response.text)
                assert error.response.json()["error"], error.response.text


run()
