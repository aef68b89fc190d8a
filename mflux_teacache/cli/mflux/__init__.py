"""What mflux's commands gain."""
