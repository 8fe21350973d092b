"""Mods at the sites: local differential privacy, sizes, and one of the app's own."""
