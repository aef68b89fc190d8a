"""The schedule: skip the steps that the user names, or that a plan leaves out, without looking at anything."""
