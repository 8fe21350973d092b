"""The operations, one module for each resource."""

PREFIX = "/api/v1"
