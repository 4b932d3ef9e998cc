"""One file a source; this is their registry."""

from collections.abc import Mapping

from shared.model import SourceType
from shared.sources import aad_graph, audit_search, entra, log_analytics, log_analytics_search, search_jobs

SOURCES: Mapping[str, SourceType] = {
    "log_analytics": log_analytics.TYPE,
    "log_analytics_search": log_analytics_search.TYPE,
    "search_jobs": search_jobs.TYPE,
    "entra": entra.TYPE,
    "audit_search": audit_search.TYPE,
    "aad_graph": aad_graph.TYPE,
}
