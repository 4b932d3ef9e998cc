"""Tests of the pure modules, one file a module. A package, so that file names may recur elsewhere in tests."""
