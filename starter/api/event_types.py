"""What is published on Kafka, for those who read it: the types of events, their schemas, and the AsyncAPI document."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from infra.kafka import asyncapi
from ledger.errors import NotFoundError
from ledger.event_types import EVENT_TYPES, EventType, schema_of
from starter.api.answers import answer
from starter.api.models.fields import Answer
from starter.api.services import AnyHolder

router = APIRouter(tags=["events"])


class SchemaResponse(JSONResponse):
    """A JSON Schema."""

    media_type = "application/schema+json"


class EventTypeView(Answer):
    """A type of events."""

    type: str
    """What the header `ce_type` says."""
    topic: str
    key: str
    """What the record's key is made of."""
    description: str
    data_schema: str
    """Where the JSON Schema of its data is."""

    @classmethod
    def of(cls, event_type: EventType) -> EventTypeView:
        """The API's form of `event_type`."""
        return cls(
            type=event_type.name,
            topic=event_type.topic,
            key=event_type.key,
            description=event_type.description,
            data_schema=f"/v1/event-types/{event_type.name}",
        )


class EventTypesView(Answer):
    """All types of events."""

    event_types: list[EventTypeView]


@router.get("/asyncapi.json", response_class=JSONResponse)
async def read_asyncapi_document(_principal: AnyHolder) -> JSONResponse:
    """The AsyncAPI 3 document: topics, keys, headers, schemas, examples, and what is promised of order and repeats."""
    return JSONResponse(asyncapi.document())


@router.get("/v1/event-types")
async def list_event_types(_principal: AnyHolder) -> EventTypesView:
    """Every type of events that is published."""
    return EventTypesView(event_types=[EventTypeView.of(event_type) for event_type in EVENT_TYPES.values()])


@router.get("/v1/event-types/{name}", response_class=SchemaResponse, responses=answer(404, "There is no such type of events."))
async def read_event_type(name: str, _principal: AnyHolder) -> SchemaResponse:
    """The JSON Schema (draft 2020-12) of a type's data, complete in itself."""
    event_type = EVENT_TYPES.get(name)
    if event_type is None:
        raise NotFoundError(kind="event type", identifier=name)
    return SchemaResponse(schema_of(event_type))
