"""Flower apps through Fedgate; see :mod:`fedgate_flower.adapter`."""
