"""One file a source; this is their registry."""

from collections.abc import Mapping

from shared.model import SourceType
from shared.sources import entra, log_analytics

SOURCES: Mapping[str, SourceType] = {"log_analytics": log_analytics.TYPE, "entra": entra.TYPE}
