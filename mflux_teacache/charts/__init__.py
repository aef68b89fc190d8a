"""Pictures of images that were made: the images beside each other, and what happened in their steps."""
