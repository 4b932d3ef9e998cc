"""Runs a Python function app on one machine as `func start` does, through Microsoft's own runtime library."""
