"""The JSON interface as the protos define it: operations, messages, fields, with their comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from gateway.routes import DESCRIPTOR_SET, is_internal
from vyris.bounds import Bounds, ExactlyOne, Together, read_bounds, read_message_rules
from vyris.gateway.v1 import http_policy_pb2
from vyris.http_rules import VARIABLE, bindings

_JSON_NAME: Final = re.compile(r"JSON name is [^`]*`(\w+)`")
# Numbers of the parts of a file in a source location's path (descriptor.proto).
_MESSAGE, _SERVICE = 4, 6
_FIELD, _METHOD = 2, 2


@dataclass(frozen=True)
class Field:
    """One field of a message. `json_name`: its name in JSON."""

    name: str
    json_name: str
    comment: str
    kind: int
    message: str
    """Full name of a message's type; empty for a plain value."""
    repeated: bool
    optional: bool
    required: bool
    bounds: Bounds


@dataclass(frozen=True)
class Message:
    """One message: its name without package, its comment, its fields by number, the rules between them."""

    name: str
    comment: str
    fields: tuple[Field, ...]
    rules: tuple[ExactlyOne | Together, ...]


@dataclass(frozen=True)
class Operation:
    """One RPC with an HTTP form."""

    service: str
    """`MintService`."""
    rpc: str
    """`Mint`."""
    comment: str
    http_method: str
    path: str
    body: str
    """The field in the body; `*`: all remaining fields; empty: no body."""
    policy: http_policy_pb2.HttpPolicy
    request: str
    answer: str

    @property
    def path_variables(self) -> list[str]:
        """The names of the path's variables."""
        return VARIABLE.findall(self.path)


class Api:
    """The services and messages of a descriptor set with source information."""

    def __init__(self, descriptors: FileDescriptorSet) -> None:
        self._files = [file for file in descriptors.file if file.package.startswith("vyris.")]

    @classmethod
    def load(cls, path: Path = DESCRIPTOR_SET) -> Api:
        """Read a descriptor set."""
        return cls(FileDescriptorSet.FromString(path.read_bytes()))

    @cached_property
    def messages(self) -> dict[str, Message]:
        """Messages by full name, with a leading dot as in descriptors."""
        return {
            f".{file.package}.{message.name}": _message(message, _comments(file), (_MESSAGE, number))
            for file in self._files
            for number, message in enumerate(file.message_type)
        }

    @cached_property
    def services(self) -> dict[str, str]:
        """Services with an HTTP form, with their comments."""
        return {
            service.name: _comments(file).get((_SERVICE, number), "")
            for file in self._files
            for number, service in enumerate(file.service)
            if not is_internal(service)
        }

    @cached_property
    def operations(self) -> list[Operation]:
        """RPCs with a google.api.http rule, in the order of the protos."""
        return [
            found
            for file in self._files
            for number, service in enumerate(file.service)
            for place, method in enumerate(service.method)
            for found in _operations(service.name, method, _comments(file).get((_SERVICE, number, _METHOD, place), ""))
        ]


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """Leading comments by path, each as one paragraph."""
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments
    }


def _message(message: DescriptorProto, comments: dict[tuple[int, ...], str], path: tuple[int, ...]) -> Message:
    fields = [
        (field.number, _field(field, comments.get((*path, _FIELD, place), "")))
        for place, field in enumerate(message.field)
    ]
    return Message(
        message.name,
        comments.get(path, ""),
        tuple(field for _, field in sorted(fields, key=lambda f: f[0])),
        tuple(read_message_rules(message.options)),
    )


def _field(field: FieldDescriptorProto, comment: str) -> Field:
    options: Any = field.options
    renamed = _JSON_NAME.search(comment)
    return Field(
        name=field.name,
        json_name=renamed[1] if renamed else field.name,
        comment=comment,
        kind=field.type,
        message=field.type_name if field.type == FieldDescriptorProto.TYPE_MESSAGE else "",
        repeated=field.label == FieldDescriptorProto.LABEL_REPEATED,
        optional=field.proto3_optional,
        required=field_behavior_pb2.REQUIRED in options.Extensions[field_behavior_pb2.field_behavior],
        bounds=read_bounds(options),
    )


def _operations(service: str, method: MethodDescriptorProto, comment: str) -> Iterator[Operation]:
    options: Any = method.options
    for binding in bindings(options):
        yield Operation(
            service=service,
            rpc=method.name,
            comment=comment,
            http_method=binding.http_method.lower(),
            path=binding.template,
            body=binding.body,
            policy=options.Extensions[http_policy_pb2.http_policy],
            request=method.input_type,
            answer=method.output_type,
        )
