"""Copies Log Analytics and Entra ID logs to Blob Storage, every row once, and answers queries over HTTP.

Imports point down only (a test holds the order): ``wiring`` knows everything; ``planner``, ``exporter``
and ``query`` know the parts; the parts (sources, formats, coverage, state, blob_store, transport) do not
know one another; ``windows``, ``clouds``, ``layout``, ``paging`` and their like are pure; ``model`` and
``errors`` import nothing of the project.
"""

VERSION = "0.1.0"
