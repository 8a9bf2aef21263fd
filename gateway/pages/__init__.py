"""What the gateway answers out of files: the OpenAPI document, its reference page, the live view of a drop."""
