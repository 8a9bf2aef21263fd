"""The OpenAPI 3.1 document, made from the protos, their comments and `vyris.errors`."""
