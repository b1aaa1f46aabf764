"""The attributes that are kept: names of OpenTelemetry's semantic conventions, with the older names for the same thing.

Left out on purpose: headers, query strings, parameters, baggage, messages and stacks of exceptions, and names for
persons, sessions and clients. Each is either secret or of no use for the comparison of slow and fast requests.

Source: OpenTelemetry semantic conventions 1.37, the attribute registry with its deprecated names; older names of
OpenTracing, of Zipkin's and Datadog's libraries.
"""

from __future__ import annotations

from typing import Final

__all__ = ["NAMES", "NEVER_BY_PATTERN", "OLD_NAMES", "QUERY_TEXT", "SYSTEM", "WHOLE_NUMBERS", "is_resource_name"]

QUERY_TEXT: Final = "db.query.text"
SYSTEM: Final = "db.system.name"

_RESOURCE: Final = """
    service.version service.namespace service.instance.id deployment.environment.name deployment.name
    host.name host.id host.type host.arch os.type os.version
    cloud.provider cloud.platform cloud.region cloud.availability_zone aws.ecs.task.family aws.ecs.launchtype
    container.id container.name container.image.name container.image.tags
    k8s.cluster.name k8s.namespace.name k8s.node.name k8s.pod.name k8s.pod.uid k8s.container.name k8s.deployment.name
    k8s.replicaset.name k8s.statefulset.name k8s.daemonset.name k8s.job.name k8s.cronjob.name
    process.pid process.executable.name process.runtime.name process.runtime.version
    faas.name faas.version faas.instance
    telemetry.sdk.language telemetry.sdk.name telemetry.sdk.version telemetry.distro.name telemetry.distro.version
"""
_SPAN: Final = """
    http.request.method http.response.status_code http.route http.request.body.size http.response.body.size
    http.request.resend_count http.connection.state
    url.scheme url.path url.full url.template url.domain
    network.protocol.name network.protocol.version network.transport network.type
    network.peer.address network.peer.port server.address server.port peer.service tls.protocol.version
    error.type exception.type
    db.system.name db.namespace db.collection.name db.operation.name db.operation.batch.size db.query.text
    db.query.summary db.response.status_code db.response.returned_rows db.stored_procedure.name
    db.client.connection.pool.name db.client.connection.state
    rpc.system rpc.service rpc.method rpc.grpc.status_code rpc.response.status_code
    messaging.system messaging.destination.name messaging.destination.template messaging.operation.name
    messaging.operation.type messaging.batch.message_count messaging.message.body.size messaging.consumer.group.name
    messaging.destination.partition.id
    graphql.operation.name graphql.operation.type
    gen_ai.provider.name gen_ai.operation.name gen_ai.request.model gen_ai.response.model gen_ai.usage.input_tokens
    gen_ai.usage.output_tokens
    feature_flag.key feature_flag.provider.name feature_flag.result.variant
    faas.trigger faas.coldstart
    thread.id thread.name code.function.name code.file.path code.line.number
    asgi.event.type aws.dynamodb.table_names aws.s3.bucket cache.hit
"""
_WHOLE_NUMBERS: Final = """
    http.response.status_code http.request.body.size http.response.body.size http.request.resend_count
    network.peer.port server.port db.operation.batch.size db.response.returned_rows rpc.grpc.status_code
    messaging.batch.message_count messaging.message.body.size gen_ai.usage.input_tokens gen_ai.usage.output_tokens
    thread.id code.line.number process.pid
"""
NAMES: Final = frozenset((_RESOURCE + _SPAN).split())
"""The names that are kept without being asked for."""
_OF_RESOURCE: Final = frozenset(_RESOURCE.split())

OLD_NAMES: Final[dict[str, str]] = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.url": "url.full",
    "http.target": "url.path",
    "http.path": "url.path",
    "http.scheme": "url.scheme",
    "http.flavor": "network.protocol.version",
    "http.host": "server.address",
    "http.server_name": "server.address",
    "http.request_content_length": "http.request.body.size",
    "http.response_content_length": "http.response.body.size",
    "http.resend_count": "http.request.resend_count",
    "http.retry_count": "http.request.resend_count",
    "net.transport": "network.transport",
    "net.protocol.name": "network.protocol.name",
    "net.protocol.version": "network.protocol.version",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
    "net.host.name": "server.address",
    "net.host.port": "server.port",
    "net.peer.ip": "network.peer.address",
    "net.sock.peer.addr": "network.peer.address",
    "net.sock.peer.port": "network.peer.port",
    "peer.hostname": "server.address",
    "peer.port": "server.port",
    "peer.ipv4": "network.peer.address",
    "out.host": "server.address",
    "out.port": "server.port",
    "network.destination.name": "server.address",
    "network.destination.port": "server.port",
    "db.system": "db.system.name",
    "db.type": "db.system.name",
    "db.name": "db.namespace",
    "db.instance": "db.namespace",
    "db.redis.database_index": "db.namespace",
    "db.cassandra.keyspace": "db.namespace",
    "db.statement": "db.query.text",
    "sql.query": "db.query.text",
    "db.operation": "db.operation.name",
    "db.sql.table": "db.collection.name",
    "db.mongodb.collection": "db.collection.name",
    "db.cassandra.table": "db.collection.name",
    "db.cosmosdb.container": "db.collection.name",
    "db.row_count": "db.response.returned_rows",
    "messaging.destination": "messaging.destination.name",
    "messaging.operation": "messaging.operation.type",
    "messaging.kafka.consumer.group": "messaging.consumer.group.name",
    "messaging.kafka.partition": "messaging.destination.partition.id",
    "rpc.system.name": "rpc.system",
    "grpc.status_code": "rpc.grpc.status_code",
    "code.function": "code.function.name",
    "code.filepath": "code.file.path",
    "code.lineno": "code.line.number",
    "deployment.environment": "deployment.environment.name",
    "env": "deployment.environment.name",
    "version": "service.version",
    "pod_name": "k8s.pod.name",
    "container_id": "container.id",
    "hostname": "host.name",
    "language": "telemetry.sdk.language",
    "runtime": "process.runtime.name",
    "container.image.tag": "container.image.tags",
    "gen_ai.system": "gen_ai.provider.name",
    "gen_ai.usage.prompt_tokens": "gen_ai.usage.input_tokens",
    "gen_ai.usage.completion_tokens": "gen_ai.usage.output_tokens",
    "feature_flag.provider_name": "feature_flag.provider.name",
    "feature_flag.variant": "feature_flag.result.variant",
    "cloud.zone": "cloud.availability_zone",
}
"""Older names, and the name in today's conventions."""

WHOLE_NUMBERS: Final = frozenset(_WHOLE_NUMBERS.split())
"""Names whose values are whole numbers. Formats in which every tag is a text have them in quotes."""

NEVER_BY_PATTERN: Final = (
    *("http.request.header.", "http.response.header.", "rpc.grpc.request.metadata.", "rpc.grpc.response.metadata."),
    *("rpc.request.metadata.", "rpc.response.metadata.", "db.query.parameter.", "url.query", "http.query", "baggage"),
    *("exception.message", "exception.stacktrace", "error.message", "error.msg", "error.stack", "message"),
    *("db.elasticsearch.path_parts.", "graphql.document", "process.command", "gen_ai.input", "gen_ai.output"),
    *("gen_ai.prompt", "gen_ai.completion", "gen_ai.system_instructions"),
)
"""Beginnings of names that a pattern such as "http.*" does not match. Only their full name keeps them."""


def is_resource_name(name: str) -> bool:
    """Return whether a name of today's conventions describes the process or its machine, and not the span."""
    return name in _OF_RESOURCE
