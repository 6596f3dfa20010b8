"""The browser page of the endpoint."""
