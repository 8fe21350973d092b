"""NVIDIA FLARE 2.9 jobs as Fedgate workloads.

FLARE's own server runner and client runners run unmodified jobs; tasks and results leave them as
neutral ones. Importing this package, or its ``adapter`` module, does not import nvflare.
"""
