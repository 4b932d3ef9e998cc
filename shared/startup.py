"""What the app needs to say which functions it has: its settings. Whatever does the work is loaded later."""

from collections.abc import Mapping
from pathlib import Path

from shared.formats import FORMATS
from shared.settings import Settings, load_settings
from shared.sources import SOURCES


def read_settings(environ: Mapping[str, str], root: Path) -> Settings:
    """Read the app's settings; ``root`` is the folder that holds function_app.py. Raises SettingsError."""
    return load_settings(environ, root, SOURCES, FORMATS)
