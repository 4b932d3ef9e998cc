"""Tests of the pure modules, one file a module. A package, so that names may recur in tests."""
