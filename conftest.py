"""Makes the plug-in known where the package is not installed."""

pytest_plugins = ["harness.pytest_plugin"]
