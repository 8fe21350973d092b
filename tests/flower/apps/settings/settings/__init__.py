"""Run configuration with overrides, node configuration of the site."""
