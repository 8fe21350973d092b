"""Flower's Control API: what the ``flwr`` command speaks, answered by the gateway.

Nothing in here imports flwr: the gateway loads no framework for it, and needs none installed.
"""
