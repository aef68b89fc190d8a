"""mflux's commands with plugins, and our own command."""
