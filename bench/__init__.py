"""Benchmarks: what the app costs beside its peer, beside the floor, and beside itself under other settings.

Every target is a ratio of two things measured in one run on one machine; nothing here holds for another.
"""
