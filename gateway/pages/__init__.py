"""Files that the gateway serves: the OpenAPI document, its reference page, the live view of a drop."""
