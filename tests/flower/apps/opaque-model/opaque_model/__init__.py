"""A model that travels as bytes in a ConfigRecord, from site to site."""
