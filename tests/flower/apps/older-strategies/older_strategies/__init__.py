"""The strategies of flwr.server that average or select, one after the other."""
