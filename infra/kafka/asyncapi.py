"""The AsyncAPI 3 document of the events, made from their models. Its examples are the events that `tests/contract` compares byte by byte.

Source: AsyncAPI 3.0.0; its Kafka bindings 0.5.0; CloudEvents 1.0.2, Kafka protocol binding, binary content mode.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from infra.kafka.cloud_events import CONTENT_TYPE, SPECIFICATION_VERSION
from infra.kafka.topics import COMPACTED, COPIES, PARTITIONS, TopicPolicy
from ledger.balances import TOPIC_BALANCE
from ledger.event_types import EVENT_TYPES, KEY_OF_BALANCE_UPDATED, KEY_OF_TRANSACTION_FINISHED, shared_schemas
from ledger.events import TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED

if TYPE_CHECKING:
    from ledger.event_types import EventType, Schema

EXAMPLES: Final = resources.files("infra.kafka") / "examples"
"""Published events, one a file: topic, key and headers as lines, an empty line, the data."""

_POLICY: Final = TopicPolicy(replication_factor=COPIES, min_insync_replicas=COPIES - 1)
"""As casaflow makes topics for production, unless its settings say otherwise."""
_BINDING_VERSION: Final = "0.5.0"
_HEADERS: Final = "CloudEventHeaders"
_SCHEMAS: Final = "#/components/schemas/"
_KEY_PATTERN: Final = "^[^/]+/[^/]+$"

_DESCRIPTION: Final = """\
What casaflow tells of accounts and transactions: CloudEvents 1.0 on Kafka, in binary content mode. The attributes are headers
(`ce_id`, `ce_type` and so on), and the record's value is the data, as JSON.

- **At least once.** An event is stored in the same database transaction as what it tells, and published until Kafka has it. It may
  come more than once, each time with the same `ce_id` and the same bytes: apply an id once.
- **Order is promised to nobody**, neither within a topic nor under a key: transactions publish after their commit, beside each other.
  The debits of an account have a `version`, from 1 and without a gap: who needs order sorts by it, and waits for a number that is
  missing. A credit has none and tells no balance, since credits add up in any order.
- **Partitions, copies and retention** are those of topics that casaflow makes for production; existing topics are left as they are.
- **Dead letters are each group's own.** What a consumer group can't apply, it puts aside for itself; the topics stay as they are.
- **Amounts** are decimal strings in major units with their ISO 4217 code, never JSON numbers. Instants are RFC 3339, dates ISO 8601.
- **Types change by additions only.** A type may gain fields that may be absent: ignore what you don't know. A field is never removed,
  renamed or retyped; one that was always there stays, and one that was never null won't be. An `enum` stays as it is; where a text
  has `examples`, other values may come. All else comes as a new type (`.v2`), on the same topic, beside the old one for a while.
"""

_OF_BALANCE: Final = (
    f"The key is `{KEY_OF_BALANCE_UPDATED}`. Compacted: the last record of an account stays for ever. One writer at a time writes a "
    "partition, in transactions: read committed records only, and the last one of an account is its newest."
)
_CHANNELS: Final = {
    TOPIC_BALANCE_UPDATED: (
        "balanceUpdated",
        "What happens to an account: each posted leg, and each change of a hold.",
        f"The key is `{KEY_OF_BALANCE_UPDATED}`: an account's events are in one partition, in no promised order; debits have a `version`.",
    ),
    TOPIC_TRANSACTION_FINISHED: (
        "transactionFinished",
        "How transactions end: one event for each, with all of its legs.",
        f"The key is `{KEY_OF_TRANSACTION_FINISHED}`. A transaction ends once, so there is one event under a key.",
    ),
    TOPIC_BALANCE: (
        "balance",
        "The latest state of each account, for systems that keep a copy: states, not what happened; several changes may be one record.",
        _OF_BALANCE,
    ),
}


@cache
def document() -> dict[str, Any]:
    """The document, made once; not to be changed."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:casaflow:events",
        "info": {
            "title": "casaflow events",
            "version": "1",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {_CHANNELS[topic][0]: _channel(topic) for topic in _CHANNELS},
        "operations": {_operation_name(topic): _operation(topic) for topic in _CHANNELS},
        "components": {
            "messages": {event_type.name: _message(event_type) for event_type in EVENT_TYPES.values()},
            "schemas": {_HEADERS: headers_schema(), **shared_schemas(_SCHEMAS + "{model}")},
            "correlationIds": {
                "subject": {
                    "description": "The transaction, the same in all its events; of a hold's events, the hold; of a state, the account.",
                    "location": "$message.header#/ce_subject",
                }
            },
        },
    }


def headers_schema() -> Schema:
    """The headers of every event, as texts in UTF-8."""
    described: dict[str, Schema] = {
        "ce_specversion": {"const": SPECIFICATION_VERSION, "description": "The version of CloudEvents."},
        "ce_id": {"format": "uuid", "description": "Identifies the event: the same each time it is published. Apply an id once."},
        "ce_type": {"examples": sorted(EVENT_TYPES), "description": "It decides the data's schema. Skip types that you don't know."},
        "ce_source": {"pattern": "^/casaflow/tenants/[^/]+$", "description": "Names the tenant."},
        "ce_subject": {"description": "The transaction's id; of a hold's events, the hold's; of an account's state, the account's."},
        "ce_time": {"format": "date-time", "description": "Booking or finishing time; of a hold's events, that of the change."},
        "content-type": {"const": CONTENT_TYPE, "description": "Of the data."},
    }
    optional: dict[str, Schema] = {"traceparent": {"description": "W3C trace context, where casaflow is traced."}}
    return {
        "type": "object",
        "description": "The attributes of CloudEvents 1.0. Readers ignore headers that they don't know.",
        "properties": {name: {"type": "string", **words} for name, words in (described | optional).items()},
        "required": list(described),
    }


def examples_of(event_type: EventType) -> list[dict[str, Any]]:
    """Published events of a type, in AsyncAPI's form, by name."""
    return [example for example in _examples() if example["headers"]["ce_type"] == event_type.name]


@cache
def _examples() -> list[dict[str, Any]]:
    files = sorted((file for file in EXAMPLES.iterdir() if file.name.endswith(".txt")), key=lambda file: file.name)
    return [_example(file.name.partition(".")[0], file.read_text(encoding="utf-8")) for file in files]


def _example(name: str, written: str) -> dict[str, Any]:
    head, _, data = written.partition("\n\n")
    fields = dict(line.split(": ", maxsplit=1) for line in head.split("\n"))
    topic, key = fields.pop("topic"), fields.pop("key")
    return {"name": name, "summary": f"On {topic}, under the key {key}.", "headers": fields, "payload": json.loads(data)}


def _channel(topic: str) -> dict[str, Any]:
    _, summary, description = _CHANNELS[topic]
    return {
        "address": topic,
        "title": topic,
        "summary": summary,
        "description": description,
        "messages": {
            event_type.name: {"$ref": f"#/components/messages/{event_type.name}"}
            for event_type in EVENT_TYPES.values()
            if event_type.topic == topic
        },
        "bindings": {
            "kafka": {
                "topic": topic,
                "partitions": PARTITIONS,
                "replicas": _POLICY.replication_factor,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _configuration(topic: str) -> dict[str, Any]:
    """Those of the topic's settings that the binding has words for."""
    own = _POLICY.configuration(compacted=topic in COMPACTED)
    found: dict[str, Any] = {"cleanup.policy": [own["cleanup.policy"]]}
    return found | {name: int(own[name]) for name in ("retention.ms", "retention.bytes") if name in own}


def _operation_name(topic: str) -> str:
    name = _CHANNELS[topic][0]
    return f"send{name[0].upper()}{name[1:]}"


def _operation(topic: str) -> dict[str, Any]:
    channel = f"#/channels/{_CHANNELS[topic][0]}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": f"casaflow publishes to {topic}, with `acks=all` and an idempotent producer, compressed with gzip.",
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name, event_type in EVENT_TYPES.items() if event_type.topic == topic],
    }


def _message(event_type: EventType) -> dict[str, Any]:
    return {
        "name": event_type.name,
        "title": event_type.model.__name__,
        "summary": event_type.description,
        "contentType": CONTENT_TYPE,
        "headers": {"allOf": [{"$ref": _SCHEMAS + _HEADERS}, {"properties": {"ce_type": {"const": event_type.name}}}]},
        "payload": {"$ref": _SCHEMAS + event_type.model.__name__},
        "correlationId": {"$ref": "#/components/correlationIds/subject"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "pattern": _KEY_PATTERN, "description": f"`{event_type.key}`, in UTF-8."},
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "examples": examples_of(event_type),
    }
