"""Messages as JSON Schema."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from gateway.openapi.api import Api, Field, Message
from gateway.openapi.bounds import Schema, number_schema, text_schema
from vyris.bounds import ExactlyOne, Together

_INTEGERS: Final = (FieldDescriptorProto.TYPE_INT32, FieldDescriptorProto.TYPE_UINT32)


class Schemas:
    """Makes schemas of messages, and collects those that others refer to in `components`."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.components: dict[str, Schema] = {}

    def request(self, full_name: str, *, without: Collection[str]) -> Schema:
        """The schema of a request: required fields are marked, unknown fields are allowed."""
        message = self._api.messages[full_name]
        fields = [field for field in message.fields if field.name not in without]
        schema = self._object(message, fields, [field.json_name for field in fields if field.required])
        for rule in message.rules:
            match rule:
                case ExactlyOne():
                    schema["oneOf"] = [{"required": [name]} for name in rule.fields]
                case Together():
                    one, other = rule.fields
                    schema["dependentRequired"] = {one: [other], other: [one]}
        return self._add_component(message.name, schema)

    def answer(self, full_name: str) -> Schema:
        """The schema of an answer: the gateway writes every field except unset optional ones."""
        message = self._api.messages[full_name]
        return self._add_component(message.name, self._answer(message))

    def of_field(self, field: Field, *, in_answer: bool = False) -> Schema:
        """A field's own schema, with its comment."""
        schema = self._plain(field, in_answer=in_answer)
        if field.repeated:
            schema = {"type": "array", "items": schema}
        return {**schema, "description": field.comment} if field.comment else schema

    def _answer(self, message: Message) -> Schema:
        fields = list(message.fields)
        written = [field.json_name for field in fields if not field.optional]
        return self._object(message, fields, written, in_answer=True)

    def _object(self, message: Message, fields: list[Field], required: list[str], *, in_answer: bool = False) -> Schema:
        schema: Schema = {
            "type": "object",
            "description": message.comment,
            "properties": {field.json_name: self.of_field(field, in_answer=in_answer) for field in fields},
        }
        if required:
            schema["required"] = required
        return schema

    def _add_component(self, name: str, schema: Schema) -> Schema:
        self.components[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def _plain(self, field: Field, *, in_answer: bool) -> Schema:
        if field.message:
            message = self._api.messages[field.message]
            return (
                (self.answer(field.message) if in_answer else self.request(field.message, without=()))
                if message.fields
                else {"type": "object"}
            )
        if field.kind == FieldDescriptorProto.TYPE_BOOL:
            return {"type": "boolean"}
        if field.kind in _INTEGERS:
            return {"type": "integer", "format": "int32", **number_schema(field.bounds)}
        if field.kind != FieldDescriptorProto.TYPE_STRING:
            raise ValueError(f"{field.name}: a field of this type has no form in the contract's JSON")
        return {"type": "string", **text_schema(field.bounds, in_answer=in_answer)}
