"""The gateway's state: a SQL database and an object store."""

from fedgate_gateway.store.database import Database
from fedgate_gateway.store.objects import Objects, StoreAway, StoredObject

__all__ = ["Database", "Objects", "StoreAway", "StoredObject"]
