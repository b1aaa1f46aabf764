"""Published stubs, used as they are, over the user's own connections: health, reflection, OpenTelemetry's collector."""

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from loadgen import Http, Plan, User, arrivals, journey, maximum, p


@journey
async def services(user: User) -> None:
    health = health_pb2_grpc.HealthStub(user.grpc)
    reply = await health.Check(health_pb2.HealthCheckRequest(service=""), timeout=5)
    user.check("serving", reply.status == health_pb2.HealthCheckResponse.SERVING)
    try:
        await health.Check(health_pb2.HealthCheckRequest(service="unknown"))
    except grpc.RpcError as error:
        user.check("not found", error.code() is grpc.StatusCode.NOT_FOUND)
    async for change in health.Watch(health_pb2.HealthCheckRequest(service="")):
        user.check("first change", change.status == health_pb2.HealthCheckResponse.SERVING)
        break
    call = reflection_pb2_grpc.ServerReflectionStub(user.grpc).ServerReflectionInfo(key=lambda _: "the only one")
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    user.check("services listed", "grpc.health.v1.Health" in names)
    await call.done_writing()
    user.check("reflection ended", await call.read() is aio.EOF)
    collector = trace_service_pb2_grpc.TraceServiceStub(user.grpc)
    exported = await collector.Export(trace_service_pb2.ExportTraceServiceRequest())
    user.check("nothing rejected", exported.partial_success.rejected_spans == 0)


SLOS = [
    p(95, request="grpc.health.v1.Health/Watch", metric="first_message") < "20s",
    maximum(request="grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", metric="answer") < "20s",
]
plan = Plan(mix=services, load=arrivals("10/s").hold("2s"), http=Http(http2="prior"), slos=SLOS)
