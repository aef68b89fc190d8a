"""What this package adds to mflux's commands."""
